"""The values of arrays as they are stored, and the range that follows from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepakit.data.sources.arrays import ArraySource
from jepakit.data.sources.image_folder import ImageFolder
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.runs.channel_values import look_at_stored, look_at_values


def save(folder: Path, arrays: list[np.ndarray]) -> None:
    for number, array in enumerate(arrays):
        np.save(folder / f"{number}.npy", array)


def test_twelve_bands_of_16_bits(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = [random.integers(100, 3000, (40, 50, 12), dtype=np.uint16) for _ in range(5)]
    arrays[2][3, 4, 7] = 60_000
    arrays[4][0, 0, 1] = 1
    save(tmp_path, arrays)
    found = look_at_values(ImageFolder.Settings(path=tmp_path, channels=12), 100)
    assert found is not None
    stacked = np.stack(arrays).reshape(-1, 12)
    np.testing.assert_array_equal(found.lowest, stacked.min(0))
    np.testing.assert_array_equal(found.highest, stacked.max(0))
    np.testing.assert_allclose(found.percentiles, np.percentile(stacked, (1, 99), axis=0), atol=9)
    assert (found.type, found.num_pictures) == ("uint16", 5)
    assert found.suggested() == (100, 3000)


def test_floats_with_gaps(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = [random.normal(0, 0.01, (30, 30, 2)).astype(np.float32) for _ in range(4)]
    arrays[0][:3, 0] = (np.nan, np.inf)
    save(tmp_path, arrays)
    found = look_at_values(ImageFolder.Settings(path=tmp_path, channels=2), 100)
    assert found is not None
    assert np.isfinite([found.lowest, found.highest]).all()
    assert found.share_not_finite == pytest.approx(6 / (4 * 30 * 30 * 2))
    low, high = found.suggested() or (0, 0)
    assert -0.026 < low < -0.021
    assert 0.021 < high < 0.026


def test_one_file_of_arrays_is_read_like_many(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).normal(5, 2, (6, 5, 16, 16)).astype(np.float32)
    np.save(tmp_path / "all.npy", pictures)
    settings = ArraySource.Settings(path=tmp_path / "all.npy", channels=5, layout="channels_first")
    found = look_at_values(settings, 100)
    assert found is not None
    np.testing.assert_allclose(found.lowest, pictures.min((0, 2, 3)))


def test_multipage_tiff(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    random = np.random.default_rng(0)
    pages = random.integers(0, 900, (7, 20, 24)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    found = look_at_values(ImageFolder.Settings(path=tmp_path, channels=7), 10)
    assert found is not None
    np.testing.assert_array_equal(found.highest, pages.max((1, 2)))


def test_usual_pictures_have_no_values(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert look_at_values(ImageFolder.Settings(path=tmp_path), 10) is None
    assert look_at_values(ProceduralScenes.Settings(), 10) is None


def test_bytes_need_no_range(tmp_path: Path) -> None:
    save(tmp_path, [np.zeros((9, 9, 5), np.uint8)])
    found = look_at_values(ImageFolder.Settings(path=tmp_path, channels=5), 10)
    assert found is not None
    assert found.suggested() is None


def test_another_number_of_channels_is_said(tmp_path: Path) -> None:
    save(tmp_path, [np.zeros((9, 9, 5), np.uint8)])
    with pytest.raises(ValueError, match=r"5 channels where channels=3; say how many .*--channels"):
        look_at_values(ImageFolder.Settings(path=tmp_path), 10)


def test_pictures_that_are_quick_to_reach_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ArraySource.of(np.arange(200 * 16).reshape(200, 4, 4).astype(np.uint16))
    source.reads_in_order = True  # as shards on a server: each of them is fetched whole
    asked: list[int] = []
    stored_values = source.stored_values

    def recorded(index: int) -> np.ndarray:
        asked.append(index)
        return stored_values(index)

    monkeypatch.setattr(source, "stored_values", recorded)
    assert look_at_stored(source, 10) is not None
    assert asked == source.order(0, 0)[:10].tolist()
