"""Quadrant masks: a quarter of the grid is context, the others are targets (paper, table 6)."""

from typing import Literal

import numpy as np

from jepakit.core.randomness import BatchRandom
from jepakit.core.settings import Settings as BaseSettings
from jepakit.core.tensors import MaskIndices
from jepakit.masking.blocks import block_indices, check_grid, mask_indices
from jepakit.masking.masking import Grid, Masking

_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


class Rasterized(Masking):
    """Draws which of the four quadrants is the context; the three others are the targets.

    Quadrants have equal sides. Of a grid with an odd side, the first or the last row (or column)
    is left out of each image, by the toss of a coin, so that every token takes part.
    """

    class Settings(BaseSettings):
        """Nothing to set but the kind."""

        kind: Literal["rasterized"] = "rasterized"

    settings: Settings

    def __init__(self, settings: Settings, grid: Grid) -> None:
        super().__init__(settings, grid)
        check_grid(grid)

    def __call__(self, batch_size: int, random: BatchRandom) -> MaskIndices:
        uniforms = random.uniforms("mask places", batch_size, 3)
        height, width = self.grid[0] // 2, self.grid[1] // 2
        tops = self._starts(uniforms[:, 1], self.grid[0])[:, None] + np.array(
            [0, 0, height, height]
        )
        lefts = self._starts(uniforms[:, 2], self.grid[1])[:, None] + np.array([0, width, 0, width])
        quadrants = block_indices(tops * self.grid[1] + lefts, self.grid, (height, width))
        seen = (uniforms[:, 0] * 4).astype(np.int64)
        images = np.arange(batch_size)[:, None]
        return mask_indices(quadrants[images, seen[:, None]], quadrants[images, _OTHERS[seen]])

    @staticmethod
    def _starts(uniforms: np.ndarray, side: int) -> np.ndarray:
        return (uniforms * (1 + side % 2)).astype(np.int64)
