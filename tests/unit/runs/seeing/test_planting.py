"""Planted anomalies: where they are said to be, and of the kind that is said."""

from __future__ import annotations

import numpy as np
import pytest

from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.runs.seeing.planting import KINDS, plant

GRID = (8, 8)
SOURCE = ProceduralScenes(ProceduralScenes.Settings(num_pictures=20, first=500))


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_named_places_change(kind: str) -> None:
    for index in range(12):
        found = plant(kind, SOURCE, index, GRID)
        assert np.array_equal(found.original, SOURCE.sample(index).picture)
        difference = (found.picture != found.original).any(axis=2)
        per_patch = difference.reshape(8, 8, 8, 8).mean(axis=(1, 3))
        assert found.altered.any()
        assert found.untouched.sum() > 32
        assert not (found.altered & found.untouched).any()
        assert (per_patch[found.untouched] == 0).all()
        assert difference.any()
        again = plant(kind, SOURCE, index, GRID)
        assert np.array_equal(again.picture, found.picture)
    assert not np.array_equal(found.picture, plant(kind, SOURCE, 0, GRID).picture)


@pytest.mark.parametrize(("kind", "number"), [("swapped patches", 2), ("turned patches", 4)])
def test_patches_keep_the_pictures_colours(kind: str, number: int) -> None:
    for index in range(6):
        found = plant(kind, SOURCE, index, GRID)
        before, after = (
            np.sort(picture.reshape(-1, 3).astype(int) @ [1, 256, 65536])
            for picture in (found.original, found.picture)
        )
        assert np.array_equal(before, after)
        assert found.altered.sum() == number


def test_a_pasted_object_is_of_another_scene() -> None:
    found = plant("pasted object", SOURCE, 3, GRID)
    new = found.picture[(found.picture != found.original).any(axis=2)]
    own = {tuple(pixel) for pixel in found.original.reshape(-1, 3).tolist()}
    assert np.mean([tuple(pixel) not in own for pixel in new.tolist()]) > 0.5
