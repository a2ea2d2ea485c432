"""`jepa data inspect` and `jepa data stats`, from the command line to page and YAML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepakit.cli import main
from jepakit.runs.config import RunConfig
from jepakit.runs.yaml_file import check, read_yaml


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JEPAKIT_TRACEBACK", raising=False)


def data(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["data", *words])
    return int(ended.value.code or 0)


def test_inspect_prints_a_table_and_writes_one_page(capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for number in range(12):
        place = Path(f"my [photos]/class-{number % 2}")
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (50, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    Path("my [photos]/class-0/<b>.png").write_bytes(b"torn")
    assert data("inspect", "my [photos]", "--out", "page.html", "--workers", "0") == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "Pictures: my [photos]" in told
    assert "12 PNG RGB" in told
    assert "cannot be read: class-0/<b>.png: not a picture in a known format" in told
    assert "data.view.size" in told
    page = Path("page.html").read_text()
    assert page.count('<img src="data:image/') == 12
    assert "class-0/&lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert "http" not in page.replace("http-equiv", "")
    for heading in ("At a glance", "A contact sheet", "Sizes", "What a training would do"):
        assert heading in page


def test_stats_give_settings_that_a_run_accepts(capfd: pytest.CaptureFixture[str]) -> None:
    Path("bands").mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        values = random.uniform(-3, 5, (40, 40, 12)).astype(np.float32)
        np.save(f"bands/{number}.npy", values)
    assert data("stats", "bands", "--channels", "12", "--out", "stats.yaml") == 0
    told = capfd.readouterr().out
    assert "as stored (float32), of 6 pictures" in told
    config = check(RunConfig, {**read_yaml(Path("stats.yaml")), "folder": "run"})
    assert config.data.source.channels == 12
    assert config.data.source.values == (-3, 5)
    assert len(config.data.normalization.mean) == 12
    # Uniform values: the mean in the middle, the deviation that of a uniform distribution.
    np.testing.assert_allclose(config.data.normalization.mean, 0.5, atol=0.02)
    np.testing.assert_allclose(config.data.normalization.std, 12**-0.5, atol=0.01)


def test_stats_keep_the_range_that_is_given(capfd: pytest.CaptureFixture[str]) -> None:
    Path("bands").mkdir()
    np.save("bands/a.npy", np.full((20, 20, 5), 2500, np.uint16))
    words = ("stats", "bands", "--channels", "5", "--values", "0,10000", "--num-pictures", "3")
    assert data(*words) == 0
    told = capfd.readouterr().out
    assert "values: [0.0, 10000.0]" in told
    assert "mean: [0.25098, 0.25098, 0.25098, 0.25098, 0.25098]" in told


def test_mistakes_are_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    Path("bands").mkdir()
    np.save("bands/a.npy", np.zeros((20, 20, 5), np.uint16))
    for words, told in (
        (("stats", "bands"), "5 channels where channels=3; say how many"),
        (("stats", "nowhere"), "nowhere does not exist"),
        (("inspect", "nowhere"), "nowhere does not exist"),
        (("stats", "bands", "--values", "5,1"), "low < high"),
        (("stats", "scenes", "--values", "0,1"), "these pictures have no values to scale"),
    ):
        assert data(*words) == 2
        errors = capfd.readouterr().err
        assert told in errors
        assert "Traceback" not in errors
