"""Looking at a dataset: sizes, kinds, broken and repeated pictures, and the words for them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from jepakit.data.inspection import inspect
from jepakit.data.sources.arrays import ArraySource
from jepakit.data.sources.image_folder import ImageFolder
from jepakit.runs.data_report import DataReport


def draw(seed, size=(60, 80), is_grey=False):
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    if is_grey:
        small[:] = small[:, :, :1]
    return Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)


@pytest.fixture
def parts(tmp_path):
    """24 training and 8 held-out pictures, with a fault of every sort."""
    for part, numbers in (("train", range(24)), ("val", range(24, 32))):
        for number in numbers:
            place = tmp_path / part / f"class-{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            draw(number, (60 + number, 80)).save(place / f"{number:02}.jpg", quality=95)
    train, val = tmp_path / "train", tmp_path / "val"
    shutil.copy(train / "class-0" / "02.jpg", val / "class-0" / "same.jpg")
    draw(4, (30, 40)).save(val / "class-0" / "small.jpg", quality=60)
    draw(40, is_grey=True).convert("L").save(train / "class-1" / "grey.png")
    (train / "class-1" / "torn.jpg").write_bytes((train / "class-1" / "03.jpg").read_bytes()[:700])
    (val / "class-0" / "text.jpg").write_bytes(b"no picture")
    return {
        part: ImageFolder(ImageFolder.Settings(path=tmp_path, split=part, index_cache=False))
        for part in ("train", "val")
    }


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_is_seen(parts, num_workers):
    ticks = []
    found = inspect(
        list(parts.values()), 1000, num_workers, lambda done, total: ticks.append((done, total))
    )
    assert ticks == [(done, 37) for done in range(1, 38)]
    assert found.kinds() == {"JPEG RGB": 34, "PNG L": 1}
    assert sum(picture.is_grey for picture in found.seen) == 1
    names = {parts[list(parts)[part]].name(index) for part, index in found.broken}
    assert names == {"class-1/torn.jpg", "class-0/text.jpg"}
    first = found.seen[0]
    assert first.size == parts["train"].sample(0).picture.shape[:2]
    assert first.num_bytes == len(parts["train"].stored(0).content)


def test_repeated_pictures_are_told_apart(parts):
    report = DataReport(parts, inspect(list(parts.values()), 1000))
    pairs = [[report.name(picture.place) for picture in pair] for pair in report.same_files]
    assert pairs == [["val/class-0/same.jpg", "train/class-0/02.jpg"]]
    pairs = [[report.name(picture.place) for picture in pair] for pair in report.look_alikes]
    assert pairs == [["val/class-0/small.jpg", "train/class-0/04.jpg"]]
    assert any("2 pictures are in two parts" in warning for warning in report.warnings())


def test_the_report_in_words(parts):
    report = DataReport(parts, inspect(list(parts.values()), 1000))
    facts = dict(report.facts())
    assert facts["pictures"] == "26 train, 11 val"
    assert facts["classes"] == "2, of 18 (class-1) to 19 (class-0) pictures"
    assert facts["sizes"].startswith("40 x 30 to 80 x 91, median 80 x ")
    assert facts["files"] == "34 JPEG RGB, 1 PNG L"
    assert facts["cannot be read"] == "2"
    assert dict(report.class_counts()) == {"class-0": [12, 7], "class-1": [14, 4]}
    ranges = report.shorter_sides()
    assert sum(count for _, count in ranges) == len(report.inspection.seen) == 35
    assert ranges[0] == ("30 to 32", 1)
    assert any("2 of 37 pictures cannot be read" in warning for warning in report.warnings())


def test_a_sample_says_that_it_is_one(parts):
    found = inspect(list(parts.values()), 10)
    again = inspect(list(parts.values()), 10)
    assert [p.place for p in found.seen] == [p.place for p in again.seen]
    report = DataReport(parts, found)
    assert report.num_looked_at == 10
    assert "a random sample of 10 was looked at" in dict(report.facts())["pictures"]
    assert dict(report.facts())["bytes"].startswith("about ")


def test_grey_pictures_in_colour_and_nothing_readable(tmp_path):
    for number in range(4):
        place = tmp_path / "grey"
        place.mkdir(exist_ok=True)
        draw(number, is_grey=True).save(place / f"{number}.png")
    source = ImageFolder(ImageFolder.Settings(path=tmp_path / "grey", index_cache=False))
    report = DataReport({"all": source}, inspect([source], 100))
    assert report.warnings() == [
        "All pictures are grey but stored in colour: one channel is enough."
    ]
    assert dict(report.facts())["classes"] == "none: the pictures are unlabelled"
    assert [name for name, _ in report.shorter_sides()] == ["60"]
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.png").write_bytes(b"torn")
    source = ImageFolder(ImageFolder.Settings(path=tmp_path / "torn", index_cache=False))
    report = DataReport({"all": source}, inspect([source], 100))
    assert dict(report.facts())["cannot be read"] == "1"
    assert not report.look_alikes


def test_arrays_are_described_by_their_values(tmp_path):
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 4000, (20, 30, 5), dtype=np.uint16)
        np.save(tmp_path / f"{number}.npy", values)
    source = ImageFolder(ImageFolder.Settings(path=tmp_path, channels=5, index_cache=False))
    assert inspect([source], 10).kinds() == {"NPY uint16 x 5": 3}
    stack = ArraySource.of(np.zeros((4, 20, 30), np.uint16))
    assert inspect([stack], 10).kinds() == {"uint16 x 1": 4}
