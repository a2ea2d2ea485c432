"""`jepa visualize`, `jepa report` and `jepa bench anomaly` as typed: what they write and refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jepakit.cli import main
from jepakit.evaluation.comparison import Comparison

VISUALIZE = "visualize runs/my-run --data pictures/classes --device cpu --out out"
FEW = "num_pictures=3 energy.usual=4 energy.masks=9 retrieval.gallery=6 retrieval.neighbours=2"


@pytest.fixture(autouse=True)
def _somewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(home / "runs", tmp_path / "runs")
    (tmp_path / "pictures").symlink_to(home / "pictures")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path / "cache"))


def run(line: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    return int(ended.value.code or 0)


def test_the_usual_parts_are_files_and_one_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"{VISUALIZE} {FEW} masking.kind=block") == 0
    assert "open " in capsys.readouterr().out
    names = {path.name for path in Path("out").iterdir()}
    maps = {
        f"maps-{k}.png" for k in ["colours", "foreground", "similarity", "segments", "attention"]
    }
    others = {"masks.png", "mask-shares.png", "energy.png", "retrieval.png"}
    assert names == maps | others | {"index.html", "numbers.json"}
    for name in maps | others:
        with Image.open(Path("out", name)) as image:
            assert image.width > 300
    page = Path("out/index.html").read_text()
    assert "Masks of the kind block" in page
    assert "target, layer 1 of 2" in page
    assert "context, layer 2 of 2" in page
    assert "masking.kind=block" in page
    assert "http" not in page.replace("http-equiv", "")
    numbers = json.loads(Path("out/numbers.json").read_text())
    assert len(numbers["masks"]["context_per_row"]) == 4
    assert len(numbers["energy"]["mean_per_picture"]) == 3


def test_without_data_and_out_the_run_is_drawn_in_its_folder() -> None:
    line = "visualize runs/my-run --what masks --device cpu num_pictures=2"
    assert run(f"{line} --data scenes") == 0
    assert Path("runs/my-run/visualize/index.html").is_file()


def test_pictures_and_views_of_another_size() -> None:
    assert run(f"{VISUALIZE} {FEW} --what maps,energy --size 48") == 0
    numbers = json.loads(Path("out/numbers.json").read_text())
    assert len(numbers["energy"]["mean_per_picture"]) == 3


def test_what_needs_a_predictor_is_left_out_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export runs/my-run alone.safetensors --to safetensors") == 0
    capsys.readouterr()
    _remove_predictor(Path("alone.safetensors"))
    line = f"{VISUALIZE} {FEW}".replace("runs/my-run", "alone.safetensors")
    code = run(line)
    said = " ".join("".join(capsys.readouterr()).split())
    assert code == 0, said
    assert "not drawn: energy: alone.safetensors holds no predictor" in said
    page = " ".join(Path("out/index.html").read_text().split())
    assert "retrieval: alone.safetensors holds no predictor" in page
    assert Path("out/maps-colours.png").is_file()
    assert not Path("out/energy.png").exists()
    assert run(f"{line} --what energy") == 2
    assert "holds no predictor" in capsys.readouterr().err


def _remove_predictor(path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
        about = file.metadata()
    kept = {name: t for name, t in load_file(path).items() if not name.startswith("predictor")}
    save_file(kept, path, about)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--what masks,energie", "--what energie is unknown: did you mean energy?"),
        ("--what pictures", "--what pictures is unknown: choose from masks, maps,"),
        ("--what ,", "--what names nothing"),
        ("--data empty", "empty"),
        ("--data nowhere", "nowhere"),
        ("--size 30", "does not divide into patches of 8 x 8"),
        ("maps.layers=[5]", "there is no layer 5"),
        ("maps.patch=[4,0]", "maps.patch=[4, 0] is outside of the grid"),
        ("maps.layer=[0]", "did you mean 'maps.layers'"),
        ("retrieval.block=9", "hides the whole grid"),
        ("--what film", "holds 1 checkpoint, and a film needs several"),
        ("--device tpu", "unknown device 'tpu'"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    assert run(f"{VISUALIZE} {FEW} {words}") == 2
    said = capsys.readouterr().err.strip()
    assert told in said
    assert said.count("\n") == 0
    assert not Path("out").exists()


def test_a_report_says_how_the_run_went() -> None:
    Path("runs/my-run/metrics.csv").write_text(
        "step,epoch,name,value\n1,0,loss,0.5\n7,1,loss,0.2\n"
        "7,1,collapse/rankme,2.0\n7,1,collapse/cosine,0.4\n7,1,throughput/images_per_second,90\n"
    )
    assert run("evaluate runs/my-run --data pictures/classes --out runs/my-run num_test=10") == 0
    _look_at_scenes()
    assert run(f"report runs/my-run --device cpu {FEW}") == 0
    page = " ".join(Path("runs/my-run/report.html").read_text().split())
    for heading in (
        *("What the features know", "Is it healthy?", "The run", "Context and targets"),
        *("Surprise", "What the model expects in a hidden block", "How the training went"),
    ):
        assert heading in page
    assert "The features use about 2.0 of their 32 dimensions" in page
    assert "0.500 at first" in page
    assert "A baseline has all right too" in page  # the dataset is tiny
    assert page.count('class="tone">Good.') + page.count('class="tone">Warning.') >= 4  # each
    assert "90 images/s" in page


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("memory", "were in the memory of a program: name others with --data"),
        ("no/pictures", "no/pictures is looked for in"),
    ],
)
def test_a_report_of_a_run_whose_pictures_are_gone(
    path: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _look_at({"kind": "folder", "path": path})
    page = Path("runs/my-run/report.html")
    assert run(f"report runs/my-run --device cpu {FEW}") == 0
    said = capsys.readouterr().out
    assert "Nothing is drawn, because the run" in said
    for where in (said, page.read_text()):
        assert told in " ".join(where.split())
    assert "Trained beside random" not in page.read_text()
    assert run(f"report runs/my-run --device cpu {FEW} --data pictures/classes") == 0
    assert "Trained beside random" in page.read_text()
    assert "12 pictures/classes" in page.read_text()
    assert run(f"report runs/my-run --device cpu {FEW}") == 0  # once more without pictures
    kept = page.with_name("report-with-drawings.html")
    assert f"the page with drawings is kept: {kept}" in capsys.readouterr().out
    assert "Trained beside random" in kept.read_text()
    last = page.read_text()
    assert "Trained beside random" not in last
    in_python = "# in Python, where the pictures were: jepakit.pretrain"
    assert (in_python in last) == (path == "memory")
    assert ("# where no/pictures is: the run may have begun" in last) == (path != "memory")
    assert run("visualize runs/my-run --what masks") == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert run("export runs/my-run out --to huggingface") == 0
    assert "compared on built-in scenes instead: the run" in capsys.readouterr().out


def test_a_report_holds_the_scores_on_other_pictures() -> None:
    _look_at_scenes()
    words = "--data pictures/classes --tasks linear num_test=10"
    assert run(f"evaluate runs/my-run {words}") == 0
    assert run(f"report runs/my-run --device cpu {FEW}") == 0
    page = Path("runs/my-run/report.html").read_text()
    assert "What the features know" in page
    assert run("evaluate runs/my-run --tasks counting num_train=40 num_test=20") == 0
    assert run(f"report runs/my-run --device cpu {FEW}") == 0
    page = Path("runs/my-run/report.html").read_text()
    assert "What the features know: scenes" in page
    assert "What the features know: pictures/classes" in page


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (None, "This run has no metrics.csv"),
        ("1,0,loss,0.5", "The rank of the features was not measured"),
    ],
)
def test_a_report_says_what_was_not_measured(metrics: str | None, told: str) -> None:
    path = Path("runs/my-run/metrics.csv")
    path.unlink(missing_ok=True)
    if metrics is not None:
        path.write_text(f"step,epoch,name,value\n{metrics}\n")
    _look_at_scenes()
    assert run(f"report runs/my-run --device cpu {FEW}") == 0
    page = " ".join(Path("runs/my-run/report.html").read_text().split())
    assert told in page
    assert ("was not measured" in page) == (metrics is not None)


def _look_at_scenes() -> None:
    _look_at({"kind": "scenes", "num_pictures": 40, "size": 32})


def _look_at(source: dict[str, Any]) -> None:
    from jepakit.runs.yaml_file import as_yaml, read_yaml

    config = read_yaml(Path("runs/my-run/config.yaml"))
    config["data"]["source"] = source
    Path("runs/my-run/config.yaml").write_text(as_yaml(config))


def test_the_table_of_anomalies_is_printed_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    line = "bench anomaly runs/my-run --device cpu anomaly.pictures=4 energy.masks=4"
    assert run(f"{line} --out found.json") == 0
    assert "swapped" in capsys.readouterr().out
    assert next(iter(Comparison.load(Path("found.json")).scores)) == "energy"
