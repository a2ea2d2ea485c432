"""A hidden box of whole patches: where it may lie, and the same box on another model's grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from jepakit.data.sources.source import Box
from jepakit.models.positions import Grid


@dataclass(frozen=True)
class HiddenBox:
    """Counted in patches, from 0. People read and write the first row and column as 1."""

    top: int
    left: int
    height: int
    width: int

    @staticmethod
    def middle(grid: Grid) -> HiddenBox:
        """A third of the grid's rows and columns, in its middle."""
        height, width = (max(1, round(length / 3)) for length in grid)
        return HiddenBox((grid[0] - height) // 2, (grid[1] - width) // 2, height, width)

    @staticmethod
    def written(words: Mapping[str, Any], grid: Grid) -> HiddenBox:
        """What a person wrote: `row`, `column` (from 1), `height`, `width`. `ValueError`."""
        row, column, height, width = (
            _whole_number(words, name) for name in ("row", "column", "height", "width")
        )
        box = HiddenBox(row - 1, column - 1, height, width)
        box.check(grid)
        return box

    def check(self, grid: Grid) -> None:
        """`ValueError` if it is smaller than a patch, reaches outside, or leaves nothing seen."""
        if self.height < 1 or self.width < 1:
            raise ValueError(
                f"A box of {self.height} x {self.width} patches is smaller than a patch: height "
                "and width are at least 1."
            )
        for name, begin, length, most in (
            ("row", self.top, self.height, grid[0]),
            ("column", self.left, self.width, grid[1]),
        ):
            if begin < 0 or begin + length > most:
                raise ValueError(
                    f"The box reaches outside of the picture: {name}s {begin + 1} to "
                    f"{begin + length}, and the picture has {name}s 1 to {most}."
                )
        if (self.height, self.width) == grid:
            raise ValueError(
                "The box hides the whole picture, so there is nothing to predict from: make it "
                "smaller."
            )

    def patches(self, grid: Grid) -> Bool[np.ndarray, "rows columns"]:
        """Which patches of the grid it covers."""
        covered = np.zeros(grid, bool)
        covered[self.top : self.top + self.height, self.left : self.left + self.width] = True
        return covered

    def places(self, grid: Grid) -> Int[Tensor, " L"]:
        """The places of its patches, row by row."""
        return torch.from_numpy(np.flatnonzero(self.patches(grid)))

    def pixels(self, patch: tuple[int, int]) -> Box:
        """(top, left, height, width) in pixels of what the network sees."""
        return (
            self.top * patch[0],
            self.left * patch[1],
            self.height * patch[0],
            self.width * patch[1],
        )

    def on(self, own: Grid, other: Grid) -> HiddenBox:
        """The patches of another grid that it touches. `ValueError` where these are all."""
        top, left = self.top * other[0] // own[0], self.left * other[1] // own[1]
        bottom = -(-(self.top + self.height) * other[0] // own[0])
        right = -(-(self.left + self.width) * other[1] // own[1])
        box = HiddenBox(top, left, bottom - top, right - left)
        box.check(other)
        return box

    def words(self) -> dict[str, int]:
        """As people write it."""
        top, left, height, width = astuple(self)
        return {"row": top + 1, "column": left + 1, "height": height, "width": width}


@dataclass(frozen=True)
class ChosenPatch:
    """One patch, counted from 0."""

    row: int
    column: int

    @staticmethod
    def middle(grid: Grid) -> ChosenPatch:
        """The patch in the grid's middle."""
        return ChosenPatch(grid[0] // 2, grid[1] // 2)

    @staticmethod
    def written(words: Mapping[str, Any], grid: Grid) -> ChosenPatch:
        """What a person wrote: `row` and `column`, from 1. `ValueError` outside of the grid."""
        row, column = _whole_number(words, "row"), _whole_number(words, "column")
        if not (1 <= row <= grid[0] and 1 <= column <= grid[1]):
            raise ValueError(
                f"There is no patch in row {row}, column {column}: rows are 1 to {grid[0]}, "
                f"columns 1 to {grid[1]}."
            )
        return ChosenPatch(row - 1, column - 1)

    def on(self, own: Grid, other: Grid) -> ChosenPatch:
        """The patch of another grid that holds its middle."""
        row, column = (
            (2 * place + 1) * there // (2 * here)
            for place, here, there in zip((self.row, self.column), own, other, strict=True)
        )
        return ChosenPatch(row, column)

    def words(self) -> dict[str, int]:
        """As people write it."""
        return {"row": self.row + 1, "column": self.column + 1}


def _whole_number(words: Mapping[str, Any], name: str) -> int:
    given = words.get(name)
    if isinstance(given, bool) or not isinstance(given, int | float) or given % 1 != 0:  # or NaN
        raise ValueError(f"The {name} is no whole number of patches: write one, e.g. 2.")
    return int(given)
