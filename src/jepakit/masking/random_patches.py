"""Random masks: scattered tokens are the target, everything else is context (paper, table 6)."""

from typing import Literal

import numpy as np
from pydantic import Field

from jepakit.core.randomness import BatchRandom
from jepakit.core.settings import Settings as BaseSettings
from jepakit.core.tensors import MaskIndices
from jepakit.masking.blocks import (
    check_grid,
    choose,
    covered,
    mask_indices,
    num_uniforms_to_choose,
    positions_of,
)
from jepakit.masking.masking import Grid, Masking


class RandomPatches(Masking):
    """Draws a uniformly random subset of the grid as the only target of each image."""

    class Settings(BaseSettings):
        """Shares are of the grid's tokens."""

        kind: Literal["random"] = "random"
        target_share: float = Field(0.6, gt=0, lt=1, description="tokens that are target")

    settings: Settings

    def __init__(self, settings: Settings, grid: Grid) -> None:
        super().__init__(settings, grid)
        check_grid(grid)
        self.num_tokens = grid[0] * grid[1]
        # At least one token on either side of the cut.
        wanted = round(settings.target_share * self.num_tokens)
        self.num_targets = min(max(wanted, 1), self.num_tokens - 1)

    def __call__(self, batch_size: int, random: BatchRandom) -> MaskIndices:
        width = num_uniforms_to_choose(self.num_tokens)
        uniforms = random.uniforms("mask places", batch_size, width)
        every_token = np.ones((batch_size, self.num_tokens), dtype=bool)
        targets = choose(every_token, self.num_targets, uniforms)[:, None]
        context = positions_of(~covered(targets, self.num_tokens))
        return mask_indices(context[:, None], targets)
