"""Boxes on scenes that hide an object, wholly or in part, and what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from jepakit.core.randomness import generator
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.scenes.description import COLOURS, SHAPES
from jepakit.data.sources.scenes.rendering import visible_objects
from jepakit.data.sources.source import Box
from jepakit.models.positions import Grid

How = Literal["partly", "wholly"]
HIDDEN: dict[How, tuple[float, float]] = {"partly": (0.3, 0.7), "wholly": (0.97, 1.0)}
_LEAST = 0.12  # share of the box that the object fills
_ALONE = 2.0  # times as many pixels as any other object in the box


@dataclass(frozen=True)
class HiddenObject:
    """A scene, a box on it, and the object in the box: which it is, and its centre there."""

    picture: UInt8[np.ndarray, "H W 3"]
    box: Box
    shape: int
    colour: int
    centre: tuple[float, float]  # row, column of the middle of its hidden pixels, 0 to 1 in the box


def hidden_objects(
    source: ProceduralScenes, grid: Grid, side: int, how: How
) -> Iterator[HiddenObject]:
    """One for every scene that has a box of side x side patches for it, the place at random.

    The share of the object's visible pixels that the box hides lies within `HIDDEN[how]`.
    """
    height, width = source.settings.size
    cell = (height // grid[0], width // grid[1])
    for index in range(len(source)):
        scene = source.scene(index)
        seen = visible_objects(scene, (height, width))[::2, ::2]
        number = source.settings.first + index
        places = [(y, x) for y in range(grid[0] - side + 1) for x in range(grid[1] - side + 1)]
        generator(source.settings.seed, f"hidden {how}", number).shuffle(places)
        for y, x in places:
            box = (y * cell[0], x * cell[1], side * cell[0], side * cell[1])
            if (found := _object_in(seen, box, HIDDEN[how])) is None:
                continue
            which, centre = found
            thing = scene.objects[which]
            shape, colour = SHAPES.index(thing.shape), COLOURS.index(thing.colour)
            yield HiddenObject(source.sample(index).picture, box, shape, colour, centre)
            break


def _object_in(
    seen: np.ndarray, box: Box, shares: tuple[float, float]
) -> tuple[int, tuple[float, float]] | None:
    """The object that stands out in the box, with its centre; None if there is none."""
    top, left, height, width = box
    inside = seen[top : top + height, left : left + width]
    counts = np.bincount(inside[inside >= 0], minlength=2)
    which = int(counts.argmax())
    others = np.delete(counts, which).max()
    hidden = counts[which] / max(1, (seen == which).sum())
    if counts[which] < max(_LEAST * inside.size, _ALONE * others):
        return None
    if not shares[0] <= hidden <= shares[1]:
        return None
    rows, columns = np.nonzero(inside == which)
    return which, (float((rows.mean() + 0.5) / height), float((columns.mean() + 0.5) / width))
