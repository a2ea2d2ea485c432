"""Rays, rectangles and numbers as arrays: what the renderer of procedural scenes works with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jepakit.data.sources.scenes.description import MATERIALS, SHAPES, Camera, Scene


@dataclass(frozen=True)
class Canvas:
    """A grid of samples seen through a camera.

    A sample's direction in the world is (dx[column], dy[row], dz[row]); its step along the camera's
    axis is 1.
    """

    height: int
    width: int
    dx: np.ndarray
    dy: np.ndarray
    dz: np.ndarray
    camera: Camera

    def rays(self, samples: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three parts of each sample's direction."""
        return (
            self.dx.take(samples.column),
            self.dy.take(samples.row),
            self.dz.take(samples.row),
        )

    @property
    def sample_width(self) -> float:
        """Width of a sample at depth 1."""
        return 2 / (self.camera.focal * min(self.height, self.width))

    def project(self, x: np.ndarray, y: np.ndarray, z: np.ndarray | float) -> np.ndarray:
        """Column and row, in samples, of points in front of the camera: stacked on a first axis."""
        camera, short = self.camera, min(self.height, self.width)
        cosine, sine = math.cos(camera.tilt), math.sin(camera.tilt)
        along, drop = y + camera.distance, camera.height - z
        scale = 0.5 * short * camera.focal / (along * cosine + drop * sine)
        up = (along * sine - drop * cosine) * scale
        return np.stack([x * scale + 0.5 * self.width, 0.5 * self.height - up])


@lru_cache(maxsize=16)
def _plane(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    half = min(height, width) / 2
    across = (np.arange(width) + 0.5 - width / 2) / half
    up = (height / 2 - 0.5 - np.arange(height)) / half
    return across.astype(np.float32), up.astype(np.float32)


def make_canvas(camera: Camera, height: int, width: int) -> Canvas:
    """The rays of a picture of that size; its central square shows the same at every size."""
    across, up = _plane(height, width)
    cosine, sine = math.cos(camera.tilt), math.sin(camera.tilt)
    across, up = across / camera.focal, up / camera.focal
    return Canvas(height, width, across, cosine + up * sine, up * cosine - sine, camera)


@dataclass(frozen=True)
class ObjectArrays:
    """The scene's n objects: (n,) in float32, but `shape` and `material` integers, `paint` (3, n).

    `cosine` and `sine` belong to the rotation.
    """

    shape: np.ndarray
    material: np.ndarray
    x: np.ndarray
    y: np.ndarray
    half: np.ndarray
    height: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray
    paint: np.ndarray

    @property
    def is_cube(self) -> np.ndarray:
        """Which objects are cubes."""
        return self.shape == SHAPES.index("cube")


def object_arrays(scene: Scene) -> ObjectArrays:
    """The scene's objects as arrays, in the scene's order."""
    rows = [
        (
            SHAPES.index(item.shape),
            MATERIALS.index(item.material),
            *item.position[:2],
            item.half_width,
            item.height,
            math.cos(item.rotation),
            math.sin(item.rotation),
            *item.paint,
        )
        for item in scene.objects
    ]
    columns = np.array(rows, np.float32).T
    shape, material = columns[:2].astype(np.intp)
    x, y, half, height, cosine, sine = columns[2:8]
    return ObjectArrays(shape, material, x, y, half, height, cosine, sine, columns[8:])


@dataclass(frozen=True)
class Samples:
    """Samples of several rectangles in one list: whose, and where on the canvas."""

    owner: np.ndarray
    row: np.ndarray
    column: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Samples:
        return Samples(self.owner.take(chosen), self.row.take(chosen), self.column.take(chosen))

    @staticmethod
    def joined(first: Samples, second: Samples) -> Samples:
        """Both lists, one after the other."""
        return Samples(
            np.concatenate([first.owner, second.owner]),
            np.concatenate([first.row, second.row]),
            np.concatenate([first.column, second.column]),
        )


def samples_within(canvas: Canvas, points: np.ndarray) -> Samples:
    """The samples in the bounding rectangle of each object's `points` (column and row, n, any)."""
    ends = np.array([canvas.width, canvas.height], np.float32)[:, None]
    first = np.clip(np.floor(points.min(axis=2)), 0, ends).astype(np.intp)
    last = np.clip(np.ceil(points.max(axis=2)), first, ends).astype(np.intp)
    (left, top), (widths, heights) = first, last - first
    # First a list of the rectangles' lines, then of the lines' samples.
    line_owner = np.repeat(np.arange(len(left)), heights)
    line_row = _counted(heights) + top.take(line_owner)
    line_width = widths.take(line_owner)
    owner, row = np.repeat(line_owner, line_width), np.repeat(line_row, line_width)
    return Samples(owner, row, _counted(line_width, left.take(line_owner)))


def _counted(lengths: np.ndarray, starts: np.ndarray | int = 0) -> np.ndarray:
    """For each length in turn: start, start + 1, ... so many numbers."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
