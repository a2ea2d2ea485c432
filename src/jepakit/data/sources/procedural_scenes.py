"""Procedural scenes: the built-in picture source, with exact labels for counting and distance."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from jepakit.core.randomness import generator
from jepakit.core.settings import Settings as FrozenSettings
from jepakit.data.sources.scenes.description import COLOURS, MATERIALS, SHAPES, SIZES, Scene
from jepakit.data.sources.scenes.layout import draw_count, draw_scene
from jepakit.data.sources.scenes.rendering import RENDERER_VERSION, render
from jepakit.data.sources.source import Sample, Source

FEWEST, MOST = 3, 10  # objects in a scene
# Metres; they cut the distances of the nearest object into six nearly equally frequent classes.
DISTANCE_EDGES = (5.5, 5.95, 6.35, 6.75, 7.3)


class ProceduralScenes(Source):
    """Lit and shaded objects in a textured room, drawn anew from (seed, index) at every reading.

    The class of a picture is its number of objects. `labels` gives the exact answers to all probing
    tasks and `scene` everything else; neither renders, and neither depends on the picture's size.
    """

    class Settings(FrozenSettings):
        """Settings of the procedural scenes."""

        kind: Literal["scenes"] = "scenes"
        num_pictures: int = Field(20_000, ge=1, description="number of scenes")
        first: int = Field(
            0, ge=0, description="number of the first scene; disjoint ranges = splits"
        )
        size: tuple[int, int] = Field(
            (64, 64), description="height and width in pixels, or one side"
        )
        seed: int = Field(0, ge=0, description="another seed gives other scenes")
        textures: bool = Field(True, description="false = plain floor and wall: an easier world")
        num_objects: tuple[int, int] = Field((FEWEST, MOST), description="fewest and most objects")

        @field_validator("size", mode="before")
        @classmethod
        def _square(cls, size: Any) -> Any:
            return (size, size) if isinstance(size, int) else size

        @field_validator("size")
        @classmethod
        def _large_enough(cls, size: tuple[int, int]) -> tuple[int, int]:
            if min(size) < 8:
                raise ValueError("scenes need at least 8 pixels a side: set size to 8 or more")
            return size

        @model_validator(mode="after")
        def _possible_count(self) -> ProceduralScenes.Settings:
            fewest, most = self.num_objects
            if not FEWEST <= fewest <= most <= MOST:
                raise ValueError(
                    f"num_objects must be (fewest, most) within {FEWEST} and {MOST}, "
                    f"e.g. ({FEWEST}, {MOST})"
                )
            return self

    num_channels = 3
    classes = tuple(str(count) for count in range(FEWEST, MOST + 1))

    # The probing tasks that are classifications: a name of `labels`, and its classes' names.
    tasks: dict[str, tuple[str, ...]] = {  # noqa: RUF012
        "count": classes,
        "nearest_distance_class": (
            f"below {DISTANCE_EDGES[0]} m",
            *(f"{a} to {b} m" for a, b in pairwise(DISTANCE_EDGES)),
            f"from {DISTANCE_EDGES[-1]} m",
        ),
        "nearest_shape": SHAPES,
        "nearest_colour": COLOURS,
        "nearest_material": MATERIALS,
        "nearest_size": SIZES,
    }

    def __init__(self, settings: ProceduralScenes.Settings) -> None:
        self.settings = settings

    def __len__(self) -> int:
        return self.settings.num_pictures

    def sample(self, index: int) -> Sample:
        """Render scene `index`; the label is the number of objects minus 3."""
        scene = self.scene(index)
        picture = render(scene, self.settings.size)
        return Sample(picture, self.name(index), len(scene.objects) - FEWEST)

    def scene(self, index: int) -> Scene:
        """Everything that scene `index` holds."""
        scene = draw_scene(self._random(index), self.settings.num_objects)
        return scene if self.settings.textures else scene.without_textures()

    def labels(self, index: int) -> dict[str, int | float]:
        """The exact answers to the probing tasks, without rendering.

        `count` and the other names in `tasks` are places in their classes. Distances are in metres
        from the camera to the object's centre; `nearest_column` and `nearest_row` are where that
        centre appears, as fractions of the picture's central square.
        """
        scene = self.scene(index)
        nearest = scene.nearest
        column, row = nearest.image_position
        return {
            "count": len(scene.objects) - FEWEST,
            "nearest_distance": nearest.distance,
            "nearest_distance_class": bisect_right(DISTANCE_EDGES, nearest.distance),
            "nearest_shape": SHAPES.index(nearest.shape),
            "nearest_colour": COLOURS.index(nearest.colour),
            "nearest_material": MATERIALS.index(nearest.material),
            "nearest_size": SIZES.index(nearest.size),
            "nearest_column": column,
            "nearest_row": row,
        }

    def name(self, index: int) -> str:
        """The scene's name: its number within the seed, so that splits share no name."""
        return f"scene-{self._number(index):06d}"

    def label(self, index: int) -> int:
        """The number of objects minus 3."""
        return draw_count(self._random(index), self.settings.num_objects) - FEWEST

    def fingerprint(self) -> str:
        """A hash of the settings and the renderer's version."""
        held = f"{RENDERER_VERSION} {self.settings.model_dump_json()}"
        return hashlib.sha256(held.encode()).hexdigest()[:16]

    def _number(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} does not exist: indices are 0 to {len(self) - 1}")
        return self.settings.first + index

    def _random(self, index: int) -> np.random.Generator:
        return generator(self.settings.seed, "scene", self._number(index))
