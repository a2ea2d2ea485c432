"""`jepa features` and `jepa search` as typed: what they write, say and refuse."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepakit.cli import main
from jepakit.runs.model import Model

FEATURES = "features runs/my-run --data pictures/classes --workers 0"
SEARCH = "search runs/my-run --data pictures/classes --workers 0 --device cpu"


@pytest.fixture(autouse=True)
def _somewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runs", "pictures"):
        (tmp_path / name).symlink_to(home / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path / "cache"))


def run(line: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    return int(ended.value.code or 0)


def paths() -> list[Path]:
    return sorted(Path("pictures/classes").rglob("*.png"))


def test_a_file_is_made_once_and_never_overwritten(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{FEATURES} --out out/f.npy --devices cpu --precision fp32"
    assert run(line) == 0
    np.testing.assert_allclose(np.load("out/f.npy"), model.features(paths()), atol=1e-6)
    said = capsys.readouterr().err
    assert "12 pictures in " in said
    assert "pictures/s" in said
    assert "out/f.npy: 12 x 32" in said
    about = json.loads(Path("out/f.npy.json").read_text())
    assert (about["model"], about["layers"], about["num_pictures"]) == ("runs/my-run", [-1], 12)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("f.npy", "f.npy.csv", "f.npy.json"),
    ]
    before = Path("out/f.npy").stat().st_mtime_ns
    assert run(line) == 0
    assert "made already: out/f.npy" in capsys.readouterr().err
    assert run(f"{line} --pool max") == 2
    assert "holds something else: choose another --out" in capsys.readouterr().err
    assert Path("out/f.npy").stat().st_mtime_ns == before


def test_layers_sizes_and_branches(model: Model) -> None:
    assert run(f"{FEATURES} --out a.npy --layers=-2,-1 --pool max --precision fp32") == 0
    expected = model.features(paths(), layers=(-2, -1), pool="max")
    np.testing.assert_allclose(np.load("a.npy"), expected, atol=1e-6)
    assert run(f"{FEATURES} --out b.npy --pool none --size 48 --half --branch context") == 0
    tokens = np.load("b.npy")
    assert (tokens.shape, tokens.dtype) == ((12, 6, 6, 32), np.float16)


def test_pictures_that_cannot_be_read_are_left_out_and_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(Path("pictures/classes").resolve(), "some")
    Path("some/cat/2.png").write_bytes(b"no picture")
    assert run("features runs/my-run --data some --workers 0 --out f.npy") == 0
    assert "left out, because they cannot be read: 1 (cat/2.png)" in capsys.readouterr().err
    assert np.load("f.npy").shape == (11, 32)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--out f.txt", "f.txt is of no known kind: let it end in .parquet, .npy, .safetensors"),
        ("--out f.npy --layers=last", "--layers last are no numbers: write e.g. --layers=-2,-1"),
        ("--out f.npy --layers=7", "there is no layer 7: this encoder has 2"),
        ("--out f.npy --pool cls", "pool='cls'"),
        ("--out f.npy --size 30", "does not divide into patches of 8 x 8"),
        ("--out f.npy --branch both", "branch='both'"),
        ("--out f.npy --precision fp16", "precision='fp16'"),
        ("--out f.npy --split valid", "has no part 'valid'"),
        ("--out f.npy --devices cpu tpu", "unknown device 'tpu'"),
        ("", "name the pictures and a file"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"{FEATURES} {words}") == 2
    said = capsys.readouterr().err.strip()
    assert told in said
    assert said.count("\n") == 0
    assert not list(Path().glob("f.*"))


@pytest.mark.parametrize("engine", ["exact", "faiss"])
def test_the_nearest_pictures_are_shown(
    engine: str, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    if engine == "faiss":
        pytest.importorskip("faiss")
    line = f"{SEARCH} --query pictures/dog.png --query pictures/classes/cat/3.png --num 4"
    line += f" --engine {engine} --out found.html --precision fp32"
    assert run(line) == 0
    found = re.findall(r"\d\.\d{4} .*((?:cat|dog)/\d\.png)", capsys.readouterr().out)
    rows = model.features(paths())
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for query, shown in (
        ("pictures/dog.png", found[:4]),
        ("pictures/classes/cat/3.png", found[4:]),
    ):
        direction = model.features(query)[0]
        best = np.argsort(-rows @ direction)[:4]
        assert shown == [f"{paths()[i].parent.name}/{paths()[i].name}" for i in best]
    assert found[4] == "cat/3.png"
    page = Path("found.html").read_text()
    assert page.count("<img") == 10
    assert 'src="data:image' in page
    assert "http" not in page.replace("http-equiv", "")
    assert "dog: dog/" in page
    assert "jepa search runs/my-run --data pictures/classes" in page


def test_what_is_found_says_in_which_part_it_is(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "val"):
        shutil.copytree("pictures/classes", f"parts/{part}")
    line = SEARCH.replace("pictures/classes", "parts")
    assert run(f"{line} --query pictures/classes/cat/3.png --num 2 --out found.html") == 0
    said = capsys.readouterr().out
    assert "train/cat/3.png" in said
    assert "val/cat/3.png" in said


def test_features_are_kept_and_used_for_other_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(f"{SEARCH} --query pictures/dog.png") == 0
    kept = {path: path.stat().st_mtime_ns for path in Path("cache/search").rglob("*.rows")}
    assert kept
    assert run(f"{SEARCH} --query pictures/cat.png") == 0
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--query nowhere.png", "nowhere.png cannot be used: there is no such file"),
        ("--query pictures", "it is a folder"),
        ("", "name the pictures and a query"),
        ("--query pictures/cat.png --engine annoy", "engine='annoy'"),
    ],
)
def test_mistaken_searches(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"{SEARCH} {words}") == 2
    assert told in capsys.readouterr().err
    assert not Path("search.html").exists()


def test_a_query_of_another_number_of_channels(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("two.npy", np.zeros((9, 9, 2), np.uint8))
    Image.fromarray(np.zeros((9, 9), np.uint8)).save("grey.png")
    assert run(f"{SEARCH} --query two.npy") == 2
    assert "two.npy cannot be used: 2 channels" in capsys.readouterr().err
    assert run(f"{SEARCH} --query grey.png") == 0
