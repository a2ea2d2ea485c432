"""`jepa data inspect` and `jepa data stats`, from the command line to page and YAML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepakit.cli import main
from jepakit.data.sources import build_source, guess_source
from jepakit.runs.channel_values import look_at_values
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


def deep_greys(folder: str, mixed: bool = False, kind: str = "png") -> None:
    """Twenty pictures of 12 bits in one channel; with `mixed` half of them in 8."""
    Path(folder).mkdir()
    random = np.random.default_rng(0)
    for number in range(20):
        picture = random.integers(0, 4000, (40, 40)).astype(np.uint16)
        if mixed and number % 2:
            picture = (picture // 16).astype(np.uint8)
        Image.fromarray(picture).save(f"{folder}/{number}.{kind}")


def test_stats_of_grey_pictures_need_no_channels(capfd: pytest.CaptureFixture[str]) -> None:
    deep_greys("deep")
    assert data("stats", "deep", "--out", "stats.yaml") == 0
    capfd.readouterr()
    source = check(RunConfig, read_yaml(Path("stats.yaml"))).data.source
    assert (source.channels, source.values) == (1, (0, 4000))
    assert data("stats", "deep", "--values", "0,8000", "--out", "stats.yaml") == 0
    assert check(RunConfig, read_yaml(Path("stats.yaml"))).data.source.values == (0, 8000)
    assert data("stats", "deep", "--values", "4000,0") == 2
    told = capfd.readouterr().err
    assert "values are (low, high) with low < high" in told
    assert "pydantic" not in told


def test_inspect_reads_floats_as_a_training_would(capfd: pytest.CaptureFixture[str]) -> None:
    Path("floats").mkdir()
    for number in range(12):
        picture = np.random.default_rng(number).uniform(0, 0.4, (40, 40)).astype(np.float32)
        Image.fromarray(picture).save(f"floats/{number}.tif")
    assert data("inspect", "floats", "--workers", "0") == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "12 TIF float32 x 1" in told
    assert "cannot be read 0" in told.replace("│", "").replace("  ", " ")


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_8_bits_among_more_stay_as_they_are(kind: str) -> None:
    deep_greys("mixed", mixed=True, kind=kind)
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--data", "mixed", "--print", "--devices", "cpu"])
    assert not ended.value.code
    looked = look_at_values(guess_source("mixed"), 64)
    assert looked is not None
    assert (looked.type, looked.num_pictures, looked.suggested()) == ("uint16", 10, (0, 4000))
    source = build_source(guess_source("mixed", 1).model_copy(update={"values": (0.0, 4000.0)}))
    means = [source.sample(index).picture.mean() for index in range(len(source))]
    assert min(means) > 110
    assert max(means) < 140


def test_pretrain_takes_values_like_other_commands(capfd: pytest.CaptureFixture[str]) -> None:
    deep_greys("deep")
    for given in ("0,3000", "[0,3000]"):
        with pytest.raises(SystemExit):
            main(["pretrain", "--data", "deep", "--values", given, "--print", "--devices", "cpu"])
        Path("printed.yaml").write_text(capfd.readouterr().out)
        assert check(RunConfig, read_yaml(Path("printed.yaml"))).data.source.values == (0, 3000)


def test_packing_anew_says_what_becomes_black(capfd: pytest.CaptureFixture[str]) -> None:
    deep_greys("deep")
    for word, is_told in (("keep", False), ("png", True)):
        words = ["pack", "deep", f"packed-{word}", "--format", word, "--channels", "1"]
        with pytest.raises(SystemExit) as ended:
            main([*words, "--workers", "0"])
        assert not ended.value.code
        assert ("to use theirs, say --values 0,4000" in capfd.readouterr().out) == is_told


def test_inspect_says_what_a_training_would_do_with_broken_files(
    capfd: pytest.CaptureFixture[str],
) -> None:
    deep_greys("few")
    for number in range(2):
        Path(f"few/torn-{number}.png").write_bytes(b"torn")
    assert data("inspect", "few", "--workers", "0") == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "2 of 22 pictures cannot be read: more than 1%, so that a training would stop" in told
    assert "data.max_broken_share=0.1." in told
    Path("bands").mkdir()
    for number in range(12):
        np.save(f"bands/{number}.npy", np.zeros((24, 24, 5), np.uint8))
    assert data("inspect", "bands", "--workers", "0") == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "say how many channels they have, --channels 5" in told
