"""The released sampler's distribution, its faults included, to compare with what others trained.

Written from a description of its behaviour. Its faults, kept on purpose: one random number gives
both area and aspect; blocks never reach the last row and column; all contexts are cut to the
batch's shortest from the tail of the raster order, so their number depends on the slice it is
called for; and a context that fails often enough overlaps targets. Prefer `multiblock`.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field

from jepakit.core.randomness import BatchRandom
from jepakit.core.settings import Settings as BaseSettings
from jepakit.core.tensors import MaskIndices
from jepakit.masking.blocks import (
    AspectRange,
    ShareRange,
    Size,
    block_indices,
    check_grid,
    covered,
    inside_block,
    mask_indices,
    num_marks,
    positions_of,
)
from jepakit.masking.masking import Grid, Masking

_DRAWS_PER_TARGET = 20
_NUM_SIZES_CHECKED = 1001


class ReferenceMultiBlock(Masking):
    """Draws masks as the released sampler does; K may differ between slices of one step."""

    class Settings(BaseSettings):
        """The reference's own names and values; shares are of the grid's tokens."""

        kind: Literal["reference_multiblock"] = "reference_multiblock"
        allow_overlap: bool = Field(False, description="whether contexts may hold target tokens")
        aspect_ratio: AspectRange = Field((0.75, 1.5), description="aspect of a target block")
        enc_mask_scale: ShareRange = Field((0.85, 1.0), description="area of a context block")
        min_keep: int = Field(10, ge=0, description="a block needs more tokens than this")
        num_enc_masks: int = Field(1, ge=1, description="contexts per image")
        num_pred_masks: int = Field(4, ge=1, description="target blocks per image")
        pred_mask_scale: ShareRange = Field((0.15, 0.2), description="area of a target block")

    settings: Settings

    def __init__(self, settings: Settings, grid: Grid) -> None:
        super().__init__(settings, grid)
        check_grid(grid)
        draws = np.linspace(0, 1, _NUM_SIZES_CHECKED)
        sizes = {self._target_size(draw) for draw in draws} | {
            self._context_size(draw) for draw in draws
        }
        smallest = min(height * width for height, width in sizes)
        if smallest <= settings.min_keep:
            raise ValueError(
                f"on a grid of {grid[0]} x {grid[1]} the reference's sampler never ends: a block "
                f"can have {smallest} tokens and needs more than min_keep = {settings.min_keep}; "
                f"choose kind multiblock instead, or a min_keep of at most {smallest - 1}"
            )

    def __call__(self, batch_size: int, random: BatchRandom) -> MaskIndices:
        generator = random.shared("mask sizes")
        target_size = self._target_size(generator.random())
        context_size = self._context_size(generator.random())
        corners = [
            self._corners(f"mask target {block}", batch_size, random, target_size)
            for block in range(self.settings.num_pred_masks)
        ]
        targets = block_indices(np.stack(corners, axis=1), self.grid, target_size)
        contexts = [
            self._context(block, random, context_size, targets)
            for block in range(self.settings.num_enc_masks)
        ]
        return mask_indices(_cut_to_shortest(np.stack(contexts, axis=1)), targets)

    def _context(
        self, block: int, random: BatchRandom, size: Size, targets: Int[np.ndarray, "B M L"]
    ) -> Bool[np.ndarray, "B N"]:
        """One context per image, as marks on the grid, drawn again while it has too few tokens."""
        num_images, num_targets, _ = targets.shape
        marks = np.zeros((num_images, self.grid[0] * self.grid[1]), dtype=bool)
        short = np.ones(num_images, dtype=bool)
        draw = 0
        while short.any():
            corners = self._corners(f"mask context {block} {draw}", num_images, random, size)
            drawn = inside_block(corners[short], self.grid, size)
            num_excluded = max(0, num_targets - draw // _DRAWS_PER_TARGET)
            if num_excluded and not self.settings.allow_overlap:
                drawn &= ~covered(targets[short, :num_excluded], marks.shape[1])
            marks[short] = drawn
            short = num_marks(marks) <= self.settings.min_keep
            draw += 1
        return marks

    def _corners(
        self, name: str, num_images: int, random: BatchRandom, size: Size
    ) -> Int[np.ndarray, " B"]:
        """Top left tokens; the last place in each direction is never drawn (a fault, kept)."""
        num_places = np.array([self.grid[0] - size[0], self.grid[1] - size[1]])
        corners = (random.uniforms(name, num_images, 2) * num_places).astype(np.int64)
        return corners[:, 0] * self.grid[1] + corners[:, 1]

    def _target_size(self, draw: float) -> Size:
        low, high = self.settings.aspect_ratio
        return self._size(draw, self.settings.pred_mask_scale, low + draw * (high - low))

    def _context_size(self, draw: float) -> Size:
        return self._size(draw, self.settings.enc_mask_scale, 1.0)

    def _size(self, draw: float, scale: tuple[float, float], aspect: float) -> Size:
        """Sides below the grid's, from the one number `draw` (two faults, kept)."""
        num_rows, num_columns = self.grid
        area = int(num_rows * num_columns * (scale[0] + draw * (scale[1] - scale[0])))
        height, width = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        return min(height, num_rows - 1), min(width, num_columns - 1)


def _cut_to_shortest(marks: Bool[np.ndarray, "B J N"]) -> Int[np.ndarray, "B J K"]:
    """The first marked tokens of each row, as many as the shortest row has (a fault, kept)."""
    num_images, num_contexts, num_tokens = marks.shape
    rows = marks.reshape(-1, num_tokens)
    shortest = num_marks(rows).min()
    kept = rows & (np.cumsum(rows, axis=1, dtype=np.int32) <= shortest)
    return positions_of(kept).reshape(num_images, num_contexts, -1)
