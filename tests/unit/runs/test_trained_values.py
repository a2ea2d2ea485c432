"""Pictures of more than 8 bits are scaled as a training did, whatever its weights became."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import jepakit
from jepakit.cli import main
from jepakit.commands.export import export_named
from jepakit.runs.channel_values import doubt_about_values
from jepakit.runs.given_pictures import open_given
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.pictures import pictures_to_show
from jepakit.runs.seeing.settings import SeeingSettings
from jepakit.runs.studio.opening import studio_of
from jepakit.runs.studio.uploads import read_upload
from jepakit.runs.studio.visit import Visit
from jepakit.runs.weights import load_weights

VALUES = (100.0, 4000.0)
DEEP = np.random.default_rng(0).integers(0, 4000, (6, 24, 24)).astype(np.uint16)
IN_8_BITS = np.rint(np.clip((DEEP.astype(np.float32) - 100) * (255 / 3900), 0, 255)).astype("uint8")


@pytest.fixture(params=["png", "tif"])
def deep(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Pictures of 12 bits in files of 16."""
    for number, one in enumerate(DEEP):
        folder = tmp_path / "deep" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(folder / f"{number}.{request.param}")
    return tmp_path / "deep"


@pytest.fixture
def run(deep: Path, new_run: Callable[..., Path]) -> Path:
    source = {"kind": "folder", "path": str(deep), "channels": 1, "values": VALUES}
    data = {"source": source, "view": {"size": 24}, "num_workers": 0}
    return new_run(deep.parent / "run", 1, data=data)


def files(folder: Path) -> list[Path]:
    """In the order of `DEEP`."""
    return sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda path: path.stem)


def typed(line: str) -> int:
    """The exit code of `jepa LINE`."""
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("to", "out", "prefix"),
    [
        ("huggingface", "hf", ""),
        ("timm", "timm", ""),
        ("timm", "timm", "timm:local-dir:"),
        ("safetensors", "a.safetensors", ""),
        ("meta", "a.pth.tar", "meta:"),
    ],
)
def test_every_export_knows_them(
    run: Path, deep: Path, to: str, out: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = run.parent / out
    assert export_named(str(run), to, place, {}) == 0
    assert "mind: in the training 100 became black and 4000 white" in capsys.readouterr().out
    model = jepakit.load(f"{prefix}{place}", device="cpu", precision="fp32")
    expected = jepakit.load(run, device="cpu", precision="fp32").features(IN_8_BITS)
    assert expected.std(axis=0).max() > 1e-3
    assert model.values == VALUES
    np.testing.assert_allclose(model.features(files(deep)), expected, atol=1e-5)
    np.testing.assert_allclose(model.features(DEEP), expected, atol=1e-5)


def test_the_card_says_how_to_scale(run: Path) -> None:
    export_named(str(run), "huggingface", run.parent / "hf", {})
    card = (run.parent / "hf" / "README.md").read_text()
    code = card.split("a `picture` with\n\n```python\n")[1].split("```")[0]
    names: dict[str, object] = {"stored": DEEP[0]}
    exec(code, names)
    np.testing.assert_array_equal(np.asarray(names["picture"]), IN_8_BITS[0])


def test_onnx_names_them(run: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export_named(str(run), "onnx", run.parent / "a.onnx", {})
    found = {p.key: p.value for p in onnx.load(run.parent / "a.onnx").metadata_props}
    assert tuple(json.loads(found["values"])) == VALUES


def test_a_card_of_8_bits_has_no_such_part(home: Path, tmp_path: Path) -> None:
    export_named(str(home / "runs" / "my-run"), "huggingface", tmp_path / "hf", {})
    assert "8 bits" not in (tmp_path / "hf" / "README.md").read_text()


def test_others_may_be_said(run: Path, deep: Path) -> None:
    said = jepakit.load(run, device="cpu", precision="fp32", values=(0.0, 8000.0))
    half = np.rint(DEEP.astype(np.float32) * (255 / 8000)).astype(np.uint8)
    np.testing.assert_allclose(said.features(files(deep)), said.features(half), atol=1e-5)
    with pytest.raises(ValueError, match="low < high"):
        jepakit.load(run, device="cpu", values=(5.0, 5.0))


def test_pictures_named_to_a_command_are_read_alike(
    deep: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    monkeypatch.setenv("JEPAKIT_CACHE", str(run.parent / "cache"))
    query, fewer = files(deep)[3], "features.num_workers=0 knn.neighbours=[2]"
    for line in (
        f"features {run} --data {deep} --out f.npy --workers 0 --precision fp32 --devices cpu",
        f"search {run} --data {deep} --query {query} --num 1 --workers 0 --device cpu",
        f"search {run} --data {deep} --query {query} --num 1 --workers 0 --values 0,9000",
        f"evaluate {run} --data {deep} --tasks knn --out e {fewer}",
        f"export {run} hf",
        f"evaluate hf --data {deep} --tasks knn --out e {fewer}",
    ):
        assert typed(line) == 0
        assert "mind: 99" not in capsys.readouterr().out
    expected = jepakit.load(run, device="cpu", precision="fp32").features(IN_8_BITS)
    order = [n for name in "ab" for n in range(6) if "ab"[n % 2] == name]
    np.testing.assert_allclose(np.load("f.npy"), expected[order], atol=1e-5)


def test_the_query_is_read_as_the_pictures_are(
    deep: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    monkeypatch.setenv("JEPAKIT_CACHE", str(run.parent / "cache"))
    query = files(deep)[3]
    line = f"search {run} --data {deep} --query {query} --num 1 --workers 0"
    assert typed(line) == 0
    capsys.readouterr()
    assert typed(f"{line} --values 0,9000") == 0
    assert f"1.0000 │ b     │ b/{query.name}" in capsys.readouterr().out


def test_a_model_of_8_bits_says_what_it_sees(deep: Path, home: Path) -> None:
    (whole,) = open_given(deep, 1).values()
    assert whole.sample(0).picture.mean() == pytest.approx(128 * 4000 / 65536, abs=1)
    told = "within 0 and 4000, and 0 is taken as black, 65535 as white: to use theirs, say --values"
    assert f"{told} 0,4000 (in Python values=(0, 4000))" in doubt_about_values(whole)
    (alike,) = open_given(deep, 1, trained=VALUES).values()
    assert alike.sample(0).picture.mean() == pytest.approx(IN_8_BITS.mean(), abs=5)
    assert doubt_about_values(alike) == ""
    said: list[str] = []
    how = {"tell": said.append, "knn": {"neighbours": [2]}, "features": {"num_workers": 0}}
    jepakit.evaluate(home / "runs" / "my-run", deep, ["knn"], **how)
    assert any(line.startswith("mind: 99 of 100 uint16 values") for line in said)
    said.clear()
    jepakit.evaluate(home / "runs" / "my-run", deep, ["knn"], values=(0, 4000), **how)
    assert not any(line.startswith("mind: 99") for line in said)


def test_other_values_are_other_pictures(
    run: Path, deep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    monkeypatch.setenv("JEPAKIT_CACHE", str(run.parent / "cache"))
    line = f"features {run} --data {deep} --out f.npy --workers 0 --devices cpu"
    assert typed(line) == 0
    assert json.loads(Path("f.npy.json").read_text())["values"] == {"all": list(VALUES)}
    assert typed(f"{line} --values 100,4000") == 0
    assert "made already" in capsys.readouterr().err
    assert typed(f"{line} --values 0,9000") == 2
    assert "holds something else" in capsys.readouterr().err
    how = {"out": "kept", "knn": {"neighbours": [2]}, "features": {"num_workers": 0}}
    made = []
    for values in (None, (0, 9000), None):
        found = jepakit.evaluate(run, deep, ["knn"], values=values, **how)
        assert found.values == (VALUES if values is None else values)
        made.append((found.fingerprint, len(list(Path("kept").rglob("*.rows")))))
    assert made[0] == (made[2][0], made[1][1] / 2)
    assert made[1][0] != made[0][0]


def test_what_cannot_be_evaluated_leaves_no_folder(run: Path) -> None:
    np.save(run.parent / "stack.npy", DEEP)
    with pytest.raises(ValueError, match="label"):
        jepakit.evaluate(run, run.parent / "stack.npy", ["knn"])
    assert not (run / "evaluations" / "stack").exists()


def test_bytes_are_said_to_stay_as_they_are(run: Path) -> None:
    for number, one in enumerate(IN_8_BITS):
        folder = run.parent / "bytes" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(folder / f"{number}.png")
    said: list[str] = []
    how = {"tell": said.append, "knn": {"neighbours": [2]}, "features": {"num_workers": 0}}
    found = jepakit.evaluate(run, run.parent / "bytes", ["knn"], **how)
    assert any("none of these pictures has more than 8 bits, so that they stay" in s for s in said)
    assert found.values is None
    model = jepakit.load(run, device="cpu", precision="fp32")
    kept = model.features(files(run.parent / "bytes"))
    np.testing.assert_allclose(kept, model.features(IN_8_BITS), atol=1e-5)


def test_the_card_of_bands_works_as_it_is_written(
    tmp_path: Path, new_run: Callable[..., Path]
) -> None:
    pytest.importorskip("transformers")
    tifffile = pytest.importorskip("tifffile")
    bands = np.random.default_rng(0).integers(100, 4000, (6, 24, 24, 5)).astype(np.uint16)
    (tmp_path / "bands").mkdir()
    for number, one in enumerate(bands):
        pages = one.transpose(2, 0, 1)
        tifffile.imwrite(tmp_path / "bands" / f"{number}.tif", pages, photometric="minisblack")
    source = {"kind": "folder", "path": str(tmp_path / "bands"), "channels": 5, "values": VALUES}
    data = {"source": source, "view": {"size": 24}, "num_workers": 0}
    new_run(tmp_path / "run", 5, data=data)
    export_named(str(tmp_path / "run"), "huggingface", tmp_path / "hf", {})
    card = (tmp_path / "hf" / "README.md").read_text()
    scaling, use = (part.split("```")[0] for part in card.split("```python\n")[1:3])
    names: dict[str, object] = {"stored": bands[0]}
    exec(scaling, names)
    exec(use, names)
    found = names["features"]
    assert isinstance(found, torch.Tensor)
    assert found.shape == (1, 32)


def test_why_none_can_be_read_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        folder = Path("bands") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{number}.npy", np.zeros((24, 24, 5), np.uint16))
    told = "can be read, e.g. a/0.npy: 5 channels where channels=1"
    for line in (
        f"evaluate {run} --data bands --tasks knn --out e features.num_workers=0",
        f"features {run} --data bands --out f.npy --workers 0 --devices cpu",
        f"export {run} hf --data bands",
    ):
        assert typed(line) in (2, 3)
        assert told in " ".join(capsys.readouterr().err.split())


def test_tables_and_pages_tell_them(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    told = "tored values from 100 (black) to 4000 (white)"
    fewer = "features.num_workers=0 knn.neighbours=[2] duplicates=false"
    assert typed(f"evaluate run --tasks knn {fewer}") == 0
    assert told in " ".join(capsys.readouterr().out.split())
    assert typed("report run --device cpu") == 0
    page = (run / "report.html").read_text()
    assert page.count(told) == 1  # of the scores
    assert "from 100 (black) to 4000 (white)</" in page
    assert told in (run / "evaluation.html").read_text()


def test_values_and_pictures_that_have_none(home: Path) -> None:
    run = home / "runs" / "my-run"
    assert len(open_given("scenes", 3, trained=VALUES)["all"]) > 0
    assert doubt_about_values(open_given("scenes", 3)["all"]) == ""
    with pytest.raises(ValueError, match="--values is for other pictures than the run's"):
        jepakit.evaluate(run, values=(0, 4000))
    with pytest.raises(ValueError, match="leave out --values"):
        jepakit.evaluate(run, "scenes", values=(0, 4000))


def test_the_studio_knows_them(deep: Path, run: Path) -> None:
    loaded, path = load_weights(str(run), torch.device("cpu")), files(deep)[2]
    pictures = pictures_to_show(loaded, str(deep))
    looking = Looking(loaded, pictures, (24, 24), SeeingSettings(), torch.device("cpu"), "fp32")
    visit = Visit(studio_of([looking]))
    visit.show_upload(given(path.name, path.read_bytes()))
    np.testing.assert_array_equal(visit._sights[0].views[0, 0], IN_8_BITS[2])


def test_a_dropped_picture_of_8_bits_stays_as_it_is() -> None:
    usual = io.BytesIO()
    Image.fromarray(IN_8_BITS[2]).save(usual, "png")
    seen = read_upload(given("usual.png", usual.getvalue()), 1, VALUES).pixels()
    np.testing.assert_array_equal(seen[..., 0], IN_8_BITS[2])


def given(name: str, content: bytes) -> dict[str, str]:
    """As a browser sends a picture."""
    return {"name": name, "content": base64.b64encode(content).decode()}
