"""Duplicates: copies are found after any usual change, and different pictures are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from jepakit.data import duplicates
from jepakit.data.duplicates import (
    Fingerprints,
    find_duplicates,
    find_repeats,
    fingerprints,
    hashes,
    join,
)
from jepakit.data.sources.procedural_scenes import ProceduralScenes

NUM = 40


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Random pictures with structure of all sizes, the larger the stronger, as photographs have."""
    random = torch.Generator().manual_seed(0)
    views = torch.full((NUM, 3, 48, 48), 120.0)
    for cells in (3, 6, 12, 24):
        coarse = torch.randn(NUM, 3, cells, cells, generator=random)
        views += F.interpolate(coarse, size=(48, 48), mode="bicubic") * 90 / cells**0.5
    return views.clamp(0, 255).to(torch.uint8)


def as_jpeg(views: Tensor) -> Tensor:
    copies = []
    for view in views:
        file = io.BytesIO()
        Image.fromarray(view.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=60)
        copies.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return torch.stack(copies)


def smaller(views: Tensor) -> Tensor:
    return F.interpolate(views, size=(32, 32), mode="bilinear", antialias=True)


def darker(views: Tensor) -> Tensor:
    return (views.float() * 0.7).to(torch.uint8)


def brighter(views: Tensor) -> Tensor:
    return (views.int() + 15).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("change", [as_jpeg, smaller, darker, brighter])
def test_changed_copies_are_found(pictures: Tensor, change) -> None:
    found = find_duplicates(fingerprints(pictures), fingerprints(change(pictures).flip(0)))
    assert all(pair.train == NUM - 1 - pair.test for pair in found)
    assert len(found) >= 0.9 * NUM


def test_identical_pictures_are_all_found_at_distance_zero(pictures: Tensor) -> None:
    found = find_duplicates(fingerprints(pictures), fingerprints(pictures), most_different=0)
    assert [(pair.test, pair.train, pair.distance) for pair in found] == [
        (place, place, 0) for place in range(NUM)
    ]


def test_different_pictures_are_not_found(pictures: Tensor) -> None:
    assert find_duplicates(fingerprints(pictures[:20]), fingerprints(pictures[20:])) == []


def test_procedural_scenes_of_one_room_are_told_apart() -> None:
    source = ProceduralScenes(ProceduralScenes.Settings(num_pictures=40, size=32, textures=False))
    views = torch.stack(
        [torch.from_numpy(source.sample(i).picture).permute(2, 0, 1) for i in range(40)]
    )
    assert find_duplicates(fingerprints(views[:20]), fingerprints(views[20:])) == []
    assert len(find_duplicates(fingerprints(views), fingerprints(views))) == 40


def test_flat_pictures_are_never_duplicates(pictures: Tensor) -> None:
    flat = torch.full((3, 3, 48, 48), 90, dtype=torch.uint8)
    flat[1, :, :10] += 2
    mixed = fingerprints(torch.cat([flat, pictures[:1]]))
    assert [(p.test, p.train) for p in find_duplicates(mixed, mixed)] == [(3, 3)]


def test_equal_hashes_of_different_pictures_are_not_enough(pictures: Tensor) -> None:
    train, test = fingerprints(pictures[:1]), fingerprints(pictures[1:2])
    forged = Fingerprints(train.hashes, test.thumbnails)
    assert find_duplicates(train, forged) == []
    assert len(find_duplicates(train, train)) == 1


def test_the_search_finds_what_comparing_everything_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_CANDIDATES_AT_ONCE", 7)
    random = np.random.default_rng(0)
    train = random.integers(-(2**63), 2**63, 60)
    test = train[random.integers(0, 60, 50)]
    for place, bits in enumerate(random.integers(0, 6, 50)):
        for bit in random.choice(64, bits, replace=False):
            test[place] ^= np.int64(1) << np.int64(bit)
    alike = random.integers(0, 255, (1, 256), dtype=np.uint8)
    sets = [Fingerprints(part, np.repeat(alike, len(part), 0)) for part in (train, test)]
    for most in (0, 1, 3):
        expected = []
        for place, value in enumerate(test):
            distances = [bin(int(value ^ other) & (2**64 - 1)).count("1") for other in train]
            nearest = int(np.argmin(distances))
            if distances[nearest] <= most:
                expected.append((place, nearest, distances[nearest]))
        found = find_duplicates(*sets, most_different=most)
        assert [(pair.test, pair.train, pair.distance) for pair in found] == expected
        assert 0 < len(expected) < 50


@pytest.mark.parametrize("equal_piece", range(4))
def test_one_equal_piece_of_the_hash_is_enough(equal_piece: int) -> None:
    others = [piece for piece in range(4) if piece != equal_piece]
    changed = sum(1 << (16 * piece + 5) for piece in others)
    alike = np.arange(256, dtype=np.uint8)[None]
    train = Fingerprints(np.array([0x1234567812345678]), alike)
    test = Fingerprints(train.hashes ^ changed, alike)
    (pair,) = find_duplicates(train, test)
    assert pair.distance == 3


def test_hashes_use_all_bits_and_any_channels(pictures: Tensor) -> None:
    values = hashes(pictures)
    assert values.dtype == torch.int64
    assert (values < 0).any()
    ones = np.mean([[int(value) >> bit & 1 for bit in range(64)] for value in values], 0)
    assert ones.min() > 0.2
    assert ones.max() < 0.8
    grey = pictures.float().mean(1, keepdim=True).to(torch.uint8)
    assert len(hashes(grey)) == len(hashes(pictures[:, :2])) == NUM


def test_batches_are_joined_in_order(pictures: Tensor) -> None:
    whole = fingerprints(pictures)
    joined = join([fingerprints(pictures[:7]), fingerprints(pictures[7:])])
    np.testing.assert_array_equal(joined.hashes, whole.hashes)
    np.testing.assert_array_equal(joined.thumbnails, whole.thumbnails)
    assert len(joined) == NUM


def test_an_empty_set_has_no_duplicates(pictures: Tensor) -> None:
    prints = fingerprints(pictures)
    empty = Fingerprints(prints.hashes[:0], prints.thumbnails[:0])
    assert find_duplicates(empty, prints) == find_duplicates(prints, empty) == []


def test_larger_distances_are_refused(pictures: Tensor) -> None:
    prints = fingerprints(pictures)
    with pytest.raises(ValueError, match="most_different=4 must be 0 to 3"):
        find_duplicates(prints, prints, most_different=4)


def test_repeats_within_one_set_are_beside_the_nearest_earlier_picture(pictures: Tensor) -> None:
    views = pictures.clone()
    views[7] = views[3]
    views[12] = darker(views[3:4])[0]
    views[15] = views[7]
    found = find_repeats(fingerprints(views))
    assert [(each.test, each.train) for each in found] == [(7, 3), (12, 3), (15, 3)]
    assert not find_repeats(fingerprints(pictures))
