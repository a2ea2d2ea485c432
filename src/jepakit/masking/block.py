"""Single-block masks: one large target block, everything else is context (paper, table 6)."""

from typing import Literal

from pydantic import Field

from jepakit.core.randomness import BatchRandom
from jepakit.core.settings import Settings as BaseSettings
from jepakit.core.tensors import MaskIndices
from jepakit.masking.blocks import (
    AspectRange,
    ShareRange,
    block_indices,
    block_sizes,
    check_grid,
    covered,
    draw_corners,
    draw_size,
    mask_indices,
    positions_of,
)
from jepakit.masking.masking import Grid, Masking


class Block(Masking):
    """Draws one target block per image, of one size per step, at any place of the grid."""

    class Settings(BaseSettings):
        """Shares are of the grid's tokens, aspects are height / width."""

        kind: Literal["block"] = "block"
        target_scale: ShareRange = Field((0.6, 0.6), description="area of the target block")
        target_aspect: AspectRange = Field((0.75, 1.5), description="aspect, drawn log-uniformly")

    settings: Settings

    def __init__(self, settings: Settings, grid: Grid) -> None:
        super().__init__(settings, grid)
        check_grid(grid)
        self.target_sizes = block_sizes(
            grid, settings.target_scale, settings.target_aspect, num_strata=3
        )
        if grid in self.target_sizes:
            raise ValueError(
                f"target_scale {settings.target_scale} can cover the whole grid of {grid[0]} x "
                f"{grid[1]} and leave no context: choose a smaller one, such as (0.6, 0.6)"
            )

    def __call__(self, batch_size: int, random: BatchRandom) -> MaskIndices:
        size = draw_size(self.target_sizes, random.shared("mask sizes"))
        uniforms = random.uniforms("mask places", batch_size, 2)[:, None]
        targets = block_indices(draw_corners(uniforms, self.grid, size), self.grid, size)
        context = positions_of(~covered(targets, self.grid[0] * self.grid[1]))
        return mask_indices(context[:, None], targets)
