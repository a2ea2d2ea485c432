"""`jepa evaluate` from the command line to scores, page and cache."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jepakit

Jepa = Callable[..., Any]
COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}
ALL_TASKS = "knn,linear,linear_sweep,low_shot,low_shot_fine_tune,attentive,fine_tune"
QUICK = (
    "features.num_workers=0",
    "features.num_crops=2",
    "linear_sweep.epochs=4",
    "low_shot=[{per_class: 3, seeds: 2}]",
    *("attentive.epochs=2", "attentive.batch_size=16", "attentive.lr=[0.01]"),
    *("fine_tune.epochs=2", "fine_tune.batch_size=16", "fine_tune.warmup_epochs=0"),
    *("low_shot_fine_tune.epochs=2", "low_shot_fine_tune.batch_size=3"),
)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three colours under noise, in train and val; one picture is in both."""
    folder = tmp_path_factory.mktemp("coloured")
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 8)):
        for name, colour in COLOURS.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                noise = random.normal(0, 40, (32, 32, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    shutil.copy(folder / "train/red/3.png", folder / "val/red/again.png")
    (folder / "val/red/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder


@pytest.fixture(scope="module")
def evaluated(jepa: Jepa, finished: Path, coloured: Path) -> Any:
    """The finished run through every task on coloured pictures."""
    words = ("evaluate", str(finished), "--data", str(coloured), "--tasks", ALL_TASKS, *QUICK)
    command = jepa(*words, "--out", str(coloured / "out"), folder=coloured / "run")
    assert command.wait() == 0, command.said
    return command


def test_every_task_has_a_score_with_an_interval(evaluated: Any, coloured: Path) -> None:
    found = json.loads((coloured / "out/scores.json").read_text())
    assert found["num_pictures"] == 3 * 8 + 1  # the cut one is left out
    rows = found["scores"]
    assert list(rows) == ["run (target encoder)", "random encoder", "raw pixels"]
    columns = {"knn_10", "linear", "linear_sweep", "low_shot_3", "attentive", "fine_tune"}
    assert columns | {"low_shot_fine_tune"} <= set(rows["run (target encoder)"])
    assert set(rows["raw pixels"]) == set(rows["random encoder"]) - {
        *("attentive", "fine_tune", "low_shot_fine_tune")
    }
    for scores in rows.values():
        for score in scores.values():
            assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
        assert scores["linear"]["value"] > 0.9  # colours are easy
    page = (coloured / "out/evaluation.html").read_text()
    assert re.search(r"Warning.*scores, in \d of them by more than the luck of 25 test", page)


def test_doubts_about_the_pictures_are_said(evaluated: Any) -> None:
    assert "cannot be read: 1 of the pictures" in evaluated.output
    told = " ".join(evaluated.output.split())
    assert "1 of 25 test pictures look like training pictures" in told
    assert "red/again.png" in told
    assert "red/3.png" in told


def test_the_page_holds_everything_in_one_file(evaluated: Any, coloured: Path) -> None:
    page = (coloured / "out/evaluation.html").read_text()
    for heading in ("Scores", "Confusions", "Accuracy per class", "How the probes learned"):
        assert heading in page
    assert "sweep" in page
    assert "http" not in page.replace("http-equiv", "")


def test_what_is_done_is_not_done_again(jepa: Jepa, evaluated: Any, coloured: Path) -> None:
    before = (coloured / "out/scores.json").read_bytes()
    made = {path: path.stat().st_mtime_ns for path in (coloured / "out/evaluation").rglob("*.*")}
    command = jepa(*evaluated.words, folder=coloured / "again")
    assert command.wait() == 0, command.said
    assert (coloured / "out/scores.json").read_bytes() == before
    after = {path: path.stat().st_mtime_ns for path in (coloured / "out/evaluation").rglob("*.*")}
    assert after == made


def test_several_checkpoints_make_a_curve(jepa: Jepa, finished: Path, coloured: Path) -> None:
    steps = sorted((finished / "checkpoints").glob("step-*"))
    out = coloured / "steps"
    words = ("evaluate", *map(str, steps), "--data", str(coloured), "--tasks", "linear")
    command = jepa(
        *words, "--out", str(out), "encoder=both", "features.num_workers=0", folder=out / "run"
    )
    assert command.wait() == 0, command.said
    told = " ".join(command.said.split())
    assert told.count("not yet finished") == len(steps) - 1
    assert f"as it was at step {int(steps[0].name[5:])} of 40" in told
    rows = json.loads((out / "scores.json").read_text())["scores"]
    assert {row.partition(" ")[0] for row in list(rows)[:4]} == {step.name for step in steps}
    assert len(rows) == 2 * len(steps) + 2
    page = (out / "evaluation.html").read_text()
    assert "Over the training" in page
    told = re.findall(r"linear over training, (.*?)[\"<]", page)[0]
    assert re.sub(r"[\d.]+", "#", told) == (
        "run (target encoder): # at #, # at #; run (context encoder): # at #, # at #"
    ), told


def test_scenes_are_counted_and_measured(jepa: Jepa, finished_copy: Path) -> None:
    words = ("evaluate", "run", "--tasks", "counting,distance", "num_test=50", "--seeds", "2")
    command = jepa(*words, "features.num_workers=0", folder=finished_copy.parent)
    assert command.wait() == 0, command.said
    found = json.loads((finished_copy / "scores.json").read_text())
    names = {"count/linear", "nearest_distance_class/linear", "mean/linear"}
    assert set(found["scores"]["raw pixels"]) == names
    assert "; mean: of 2 questions)" in " ".join(command.said.split())
    assert "count/linear/deviation" in found["chosen"]["raw pixels"]


def test_datasets_of_one_name_keep_their_scores(
    jepa: Jepa, finished_copy: Path, coloured: Path
) -> None:
    for parent in ("one", "two"):
        shutil.copytree(coloured / "train", finished_copy.parent / parent / "pictures")
    shutil.rmtree(finished_copy.parent / "two/pictures/blue")
    for parent in ("one", "two", "one"):
        words = ("evaluate", "run", "--data", f"{parent}/pictures", "--tasks", "linear")
        command = jepa(*words, "features.num_workers=0", folder=finished_copy.parent)
        assert command.wait() == 0, command.said
        assert "replace" not in command.said
    first, second = sorted((finished_copy / "evaluations").iterdir())
    assert second.name.startswith("pictures-")
    told = [json.loads((folder / "scores.json").read_text()) for folder in (first, second)]
    assert [scores["pictures"] for scores in told] == ["one/pictures", "two/pictures"]
    assert "one/pictures" in (first / "evaluation.html").read_text()


def test_from_python_it_is_the_same(evaluated: Any, finished: Path, coloured: Path) -> None:
    found = jepakit.evaluate(
        finished, coloured, ["linear"], out=coloured / "out", features={"num_workers": 0}
    )
    scores = json.loads((coloured / "out/scores.json").read_text())["scores"]
    assert found.value("raw pixels", "linear") == scores["raw pixels"]["linear"]["value"]
    row = "run (target encoder)"
    assert found.scores[row]["linear"].low == scores[row]["linear"]["low"]


def test_pictures_may_be_seen_larger(
    jepa: Jepa, evaluated: Any, finished: Path, coloured: Path
) -> None:
    words = ("evaluate", str(finished), "--data", str(coloured), "--tasks", "knn,linear")
    told = {}
    for size in (None, "32", "48"):
        options = () if size is None else ("--size", size)
        run = (*words, "--out", str(coloured / "seen"), "features.num_workers=0", *options)
        command = jepa(*run, folder=coloured / "run")
        assert command.wait() == 0, command.said
        page = (coloured / "seen/evaluation.html").read_text()
        scores = json.loads((coloured / "seen/scores.json").read_text())["scores"]
        told[size] = {
            "scores": [scores["run (target encoder)"][task] for task in ("knn_10", "linear")],
            "sides": sorted(set(re.findall(r"(\d+ x \d+) pixels", page))),
            "rows": len(list((coloured / "seen/evaluation/features").glob("*.rows"))),
        }
        replaced = "scores.json held other scores, which these replace (Percent of 25 test pictures"
        assert (f"{replaced} of 32 x 32 pixels" in command.said) == (size == "48")
    assert told["32"] == told[None]  # the training's: nothing is made again
    assert told["32"]["sides"] == ["32 x 32"]
    assert told["48"]["sides"] == ["48 x 48"]
    assert told["48"]["rows"] > told["32"]["rows"]
    assert "--size 48" in page


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("RUN", "--size", "30", "--data", "DATA"), "does not divide into patches"),
        (("RUN", "--size", "0", "--data", "DATA"), "size"),
        (("nowhere",), "there is no nowhere: give a run folder"),
        ((), "name what to evaluate"),
        (("RUN", "--tasks", "lineer"), "tasks"),
        (("RUN", "linear.l3=1"), "l2"),
        (("RUN", "--data", "unlabelled"), "have no labels"),
        (("RUN", "--data", "one"), "one folder per class, two or more"),
        (("RUN", "--data", "DATA", "--tasks", "counting"), "CLEVR"),
        (("timm:nothing", "--data", "DATA"), "nothing"),
        (("timm:vit_tiny_patch16_224",), "timm:"),
    ],
)
def test_mistakes_are_explained_in_a_sentence(
    jepa: Jepa, finished: Path, coloured: Path, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    (tmp_path / "unlabelled").mkdir()
    (tmp_path / "one/train/red").mkdir(parents=True)
    for number in range(12):
        source = coloured / f"train/red/{number}.png"
        shutil.copy(source, tmp_path / f"unlabelled/{number}.png")
        shutil.copy(source, tmp_path / f"one/train/red/{number}.png")
    named = {"RUN": str(finished), "DATA": str(coloured)}
    command = jepa("evaluate", *(named.get(w, w) for w in words), folder=tmp_path)
    assert command.wait() == 2, command.said
    assert "Traceback" not in command.errors
    assert told in command.errors
