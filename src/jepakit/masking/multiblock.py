"""Fair multi-block masks (the default): several target blocks, and what is left of a large context.

Paper, section 3. Every place of the grid is possible, shapes depend on the step's block sizes
only, and a context is thinned by a uniformly random subset, never by order.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from jepakit.core.randomness import BatchRandom
from jepakit.core.settings import Settings as BaseSettings
from jepakit.core.tensors import MaskIndices
from jepakit.masking.blocks import (
    AspectRange,
    Share,
    ShareRange,
    Size,
    block_indices,
    block_sizes,
    check_grid,
    choose,
    covered,
    draw_corners,
    draw_size,
    inside_block,
    mask_indices,
    num_marks,
    num_uniforms_to_choose,
)
from jepakit.masking.masking import Grid, Masking

# By default a context has as many tokens as all but this share of the images can give; the places
# of those few are drawn again. No marginal probability can move by more than this share.
SHORT_SHARE = 0.01
# A context share for which more than this share of the images must be drawn again is refused.
_MOST_REDRAWN = 0.75
_MOST_DRAWS = 64
# Nine target sizes and two context sizes at most, so that a compiled step has few shapes.
_NUM_TARGET_STRATA = 3
_NUM_CONTEXT_STRATA = 2
_NUM_SIMULATED = 2000


class MultiBlock(Masking):
    """Draws M target blocks of one size per image, and J contexts outside of all of them.

    A step has one target size and one context size, from `random.shared`. The number of context
    tokens K is a function of these two sizes, known at construction. An image whose targets leave
    fewer legal tokens than K is drawn again from its own random numbers; after 64 draws its
    targets are put on one place, which always leaves enough.
    """

    class Settings(BaseSettings):
        """Shares are of the grid's tokens, aspects are height / width."""

        kind: Literal["multiblock"] = "multiblock"
        num_targets: int = Field(4, ge=1, description="target blocks per image")
        num_contexts: int = Field(1, ge=1, description="contexts per image")
        target_scale: ShareRange = Field((0.15, 0.2), description="area of a target block")
        target_aspect: AspectRange = Field((0.75, 1.5), description="aspect, drawn log-uniformly")
        context_scale: ShareRange = Field(
            (0.85, 1.0), description="area of the square context block, before removing targets"
        )
        context_share: Share | None = Field(
            None, description="tokens kept as context; empty: as many as 99 % of the images have"
        )
        min_context: int = Field(1, ge=1, description="fewest context tokens, whatever the share")

    settings: Settings

    def __init__(self, settings: Settings, grid: Grid) -> None:
        super().__init__(settings, grid)
        check_grid(grid)
        self.target_sizes = block_sizes(
            grid, settings.target_scale, settings.target_aspect, _NUM_TARGET_STRATA
        )
        self.context_sizes = block_sizes(
            grid, settings.context_scale, (1.0, 1.0), _NUM_CONTEXT_STRATA
        )
        self.num_context = self._num_context()

    def __call__(self, batch_size: int, random: BatchRandom) -> MaskIndices:
        generator = random.shared("mask sizes")
        target_size = draw_size(self.target_sizes, generator)
        context_size = draw_size(self.context_sizes, generator)
        num_context = self.num_context[target_size, context_size]
        targets, legal = self._draw_enough(
            batch_size, random, target_size, context_size, num_context
        )
        num_contexts = self.settings.num_contexts
        width = num_uniforms_to_choose(self.grid[0] * self.grid[1])
        uniforms = random.uniforms("mask context", batch_size, num_contexts * width)
        uniforms = uniforms.reshape(batch_size, num_contexts, width)
        return mask_indices(choose(legal, num_context, uniforms), targets)

    def _draw_enough(
        self,
        batch_size: int,
        random: BatchRandom,
        target_size: Size,
        context_size: Size,
        num_context: int,
    ) -> tuple[Int[np.ndarray, "B M L"], Bool[np.ndarray, "B J N"]]:
        """Targets and legal context tokens, at least `num_context` of them for every image."""
        num_blocks = self.settings.num_targets + self.settings.num_contexts
        uniforms = random.uniforms("mask places", batch_size, 2 * num_blocks)
        targets, legal = self._place(uniforms, target_size, context_size)
        for draw in range(1, _MOST_DRAWS + 1):
            short = num_marks(legal).min(axis=-1) < num_context
            if not short.any():
                break
            uniforms = random.uniforms(f"mask places {draw}", batch_size, 2 * num_blocks)[short]
            if draw == _MOST_DRAWS:
                uniforms[:, : 2 * self.settings.num_targets] = np.tile(
                    uniforms[:, :2], self.settings.num_targets
                )
            targets[short], legal[short] = self._place(uniforms, target_size, context_size)
        return targets, legal

    def _place(
        self, uniforms: Float[np.ndarray, "B U"], target_size: Size, context_size: Size
    ) -> tuple[Int[np.ndarray, "B M L"], Bool[np.ndarray, "B J N"]]:
        """Blocks placed by uniform numbers: targets, and the context blocks minus all targets."""
        places = uniforms.reshape(len(uniforms), -1, 2)
        num_targets = self.settings.num_targets
        num_tokens = self.grid[0] * self.grid[1]
        corners = draw_corners(places[:, :num_targets], self.grid, target_size)
        targets = block_indices(corners, self.grid, target_size)
        corners = draw_corners(places[:, num_targets:], self.grid, context_size)
        legal = inside_block(corners, self.grid, context_size)
        legal &= ~covered(targets, num_tokens)[:, None]
        return targets, legal

    def _num_context(self) -> dict[tuple[Size, Size], int]:
        """K for every pair of sizes; raises if too few images could have as many.

        Pairs of equal areas share the smaller K, which makes for fewer shapes.
        """
        usual: dict[tuple[int, int], int] = {}
        most: dict[tuple[int, int], int] = {}
        pairs = [
            (target, context) for target in self.target_sizes for context in self.context_sizes
        ]
        for target_size, context_size in pairs:
            areas = _area(target_size), _area(context_size)
            counts = self._simulated_counts(target_size, context_size)
            # What always remains: a context block minus one target block.
            certain = max(0, areas[1] - areas[0])
            for counted, share in ((usual, SHORT_SHARE), (most, _MOST_REDRAWN)):
                count = min(certain, int(counts[int(share * len(counts))]))
                counted[areas] = min(counted.get(areas, count), count)
        wanted = {areas: self._wanted(count) for areas, count in usual.items()}
        if any(wanted[areas] > most[areas] for areas in wanted):
            raise ValueError(self._too_many(max(wanted.values()), min(most.values())))
        return {pair: wanted[_area(pair[0]), _area(pair[1])] for pair in pairs}

    def _wanted(self, usual: int) -> int:
        share = self.settings.context_share
        count = usual if share is None else round(share * self.grid[0] * self.grid[1])
        return max(self.settings.min_context, count)

    def _simulated_counts(self, target_size: Size, context_size: Size) -> Int[np.ndarray, " S"]:
        """Sorted numbers of legal context tokens of a fixed sample, the same on every process."""
        width = 2 * (self.settings.num_targets + self.settings.num_contexts)
        uniforms = BatchRandom(seed=0, step=0).uniforms("mask simulation", _NUM_SIMULATED, width)
        _, legal = self._place(uniforms, target_size, context_size)
        return np.sort(num_marks(legal).min(axis=-1))

    def _too_many(self, wanted: int, limit: int) -> str:
        num_rows, num_columns = self.grid
        name = f"a grid of {num_rows} x {num_columns}"
        if limit < self.settings.min_context:
            return (
                f"on {name} the targets leave at most {limit} context tokens: "
                "choose a smaller target_scale, fewer num_targets or a smaller min_context"
            )
        share = int(100 * limit / (num_rows * num_columns)) / 100
        return (
            f"on {name} these targets cannot leave {wanted} context tokens: choose a context_share "
            f"of at most {share:g}, or smaller or fewer targets"
        )


def _area(size: Size) -> int:
    return size[0] * size[1]
