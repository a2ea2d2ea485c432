"""Scenes with something wrong in them: a foreign object, patches swapped, patches turned round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from jepakit.core.randomness import generator
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.scenes.rendering import visible_objects

ALTERED = 0.3  # share of a patch's pixels that makes it an anomaly; below, it does not count
_LEAST_CHANGE = 12.0  # grey values, on average: turning a plain wall round is no anomaly
_TRIES = 40

Pixels = UInt8[np.ndarray, "H W 3"]
Changed = Bool[np.ndarray, "H W"]
Grid = tuple[int, int]


@dataclass(frozen=True)
class Planted:
    """A scene as it was, with an anomaly, and where that is."""

    original: Pixels
    picture: Pixels
    altered: Bool[np.ndarray, "rows columns"]
    untouched: Bool[np.ndarray, "rows columns"]


def plant(kind: str, source: ProceduralScenes, index: int, grid: Grid) -> Planted:
    """Scene `index` with the anomaly `kind` of `KINDS`; the same arguments give the same picture.

    Places of which less than a share of `ALTERED` changed are neither altered nor untouched; one at
    least is altered.
    """
    original = source.sample(index).picture
    random = generator(source.settings.seed, f"plant {kind}", source.settings.first + index)
    picture, changed = KINDS[kind](source, index, original, grid, random)
    height, width = original.shape[:2]
    cells = changed.reshape(grid[0], height // grid[0], grid[1], width // grid[1])
    share = cells.mean(axis=(1, 3))
    altered = share >= min(ALTERED, share.max())
    return Planted(original, picture, altered, share == 0)


def _paste_object(
    source: ProceduralScenes,
    index: int,
    original: Pixels,
    grid: Grid,
    random: np.random.Generator,
) -> tuple[Pixels, Changed]:
    """An object of another scene, at any place: it floats, has no shadow, and other light."""
    height, width = original.shape[:2]
    smallest = 1.5 * height * width / (grid[0] * grid[1])  # so that it fills a patch
    best: tuple[int, Changed] | None = None
    for _ in range(_TRIES):
        other = int((index + random.integers(1, max(2, len(source)))) % len(source))
        seen = visible_objects(source.scene(other), (height, width))
        chosen = seen == random.integers(seen.max() + 1)
        shape = chosen.reshape(height, 2, width, 2).mean(axis=(1, 3)) >= 0.5
        if best is None or shape.sum() > best[1].sum():
            best = (other, shape)
        if smallest <= shape.sum() <= 12 * smallest:
            best = (other, shape)
            break
    assert best is not None
    other, shape = best
    rows, columns = np.nonzero(shape)
    moved_rows = rows - rows.min() + random.integers(height - np.ptp(rows))
    moved_columns = columns - columns.min() + random.integers(width - np.ptp(columns))
    picture, changed = original.copy(), np.zeros((height, width), bool)
    picture[moved_rows, moved_columns] = source.sample(other).picture[rows, columns]
    changed[moved_rows, moved_columns] = True
    return picture, changed


def _swap_patches(
    source: ProceduralScenes,
    index: int,
    original: Pixels,
    grid: Grid,
    random: np.random.Generator,
) -> tuple[Pixels, Changed]:
    """Two patches of the picture exchange their places."""

    def draw() -> tuple[Pixels, Changed]:
        first, second = (_box(original, grid, random, side=1) for _ in range(2))
        picture, changed = original.copy(), np.zeros(original.shape[:2], bool)
        picture[first], picture[second] = original[second], original[first]
        changed[first] = changed[second] = True
        return picture, changed

    return _noticeable(draw, original)


def _turn_patches(
    source: ProceduralScenes,
    index: int,
    original: Pixels,
    grid: Grid,
    random: np.random.Generator,
) -> tuple[Pixels, Changed]:
    """Two by two patches turned by 180 degrees: their colours stay as they were."""

    def draw() -> tuple[Pixels, Changed]:
        box = _box(original, grid, random, side=2)
        picture, changed = original.copy(), np.zeros(original.shape[:2], bool)
        picture[box] = original[box][::-1, ::-1]
        changed[box] = True
        return picture, changed

    return _noticeable(draw, original)


def _noticeable(
    draw: Callable[[], tuple[Pixels, Changed]], original: Pixels
) -> tuple[Pixels, Changed]:
    """The first draw that changes the picture enough, or the strongest of many."""
    best = draw()
    for _ in range(_TRIES):
        if _strength(best, original) >= _LEAST_CHANGE:
            break
        best = max(best, draw(), key=lambda found: _strength(found, original))
    return best


def _strength(found: tuple[Pixels, Changed], original: Pixels) -> float:
    picture, changed = found
    difference = np.abs(picture.astype(float) - original)
    return float(difference[changed].mean())


def _box(
    picture: Pixels, grid: Grid, random: np.random.Generator, side: int
) -> tuple[slice, slice]:
    """A random square of whole patches, as slices of pixels."""
    cell = (picture.shape[0] // grid[0], picture.shape[1] // grid[1])
    starts = [int(random.integers(n - side + 1)) for n in grid]
    top, left = (
        slice(start * pixels, (start + side) * pixels)
        for start, pixels in zip(starts, cell, strict=True)
    )
    return top, left


KINDS = {
    "pasted object": _paste_object,
    "swapped patches": _swap_patches,
    "turned patches": _turn_patches,
}
