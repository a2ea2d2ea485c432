"""How often each token of the grid is context and target: measured, and in closed form."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from jepakit.core.randomness import BatchRandom
from jepakit.masking.blocks import Size
from jepakit.masking.masking import Grid, Masking
from jepakit.masking.multiblock import MultiBlock

Shares = Float[np.ndarray, "H W"]


@dataclass(frozen=True)
class Coverage:
    """Shares of images in which each token is context, and is in at least one target block."""

    context: Shares
    target: Shares
    context_error: Shares  # standard errors; sizes are shared by a step, so steps are the samples
    target_error: Shares
    shapes: frozenset[tuple[int, int]]  # the (K, L) that occurred

    @property
    def context_per_row(self) -> Float[np.ndarray, " H"]:
        """Share of a row's tokens that are context, from top to bottom."""
        return self.context.mean(axis=1)

    @property
    def context_per_column(self) -> Float[np.ndarray, " W"]:
        """Share of a column's tokens that are context, from left to right."""
        return self.context.mean(axis=0)

    @property
    def target_per_row(self) -> Float[np.ndarray, " H"]:
        """Share of a row's tokens that are in a target, from top to bottom."""
        return self.target.mean(axis=1)

    @property
    def target_per_column(self) -> Float[np.ndarray, " W"]:
        """Share of a column's tokens that are in a target, from left to right."""
        return self.target.mean(axis=0)


def measure_coverage(
    masking: Masking, num_images: int, seed: int = 0, batch_size: int = 128
) -> Coverage:
    """Draw masks for `num_images` images, in steps of `batch_size`, and count.

    Block sizes are drawn once per step: a small batch size means more sizes and less error, but
    a sampler that cuts to its batch (the reference's) must be measured at the batch size of use.
    """
    num_steps = -(-num_images // batch_size)
    counts = np.zeros((2, num_steps, masking.grid[0] * masking.grid[1]))
    shapes = set()
    for step in range(num_steps):
        masks = masking(batch_size, BatchRandom(seed, step))
        counts[0, step] = _share_of_images(masks.context, counts.shape[-1])
        counts[1, step] = _share_of_images(masks.targets, counts.shape[-1])
        shapes.add((masks.context.shape[-1], masks.targets.shape[-1]))
    shares = counts.mean(axis=1).reshape(2, *masking.grid)
    errors = (counts.std(axis=1) / np.sqrt(num_steps)).reshape(2, *masking.grid)
    return Coverage(shares[0], shares[1], errors[0], errors[1], frozenset(shapes))


def _share_of_images(indices: torch.Tensor, num_tokens: int) -> Float[np.ndarray, " N"]:
    marks = torch.zeros(len(indices), num_tokens)
    marks.scatter_(1, indices.flatten(1), 1.0)
    return marks.mean(dim=0).double().numpy()


def expected_target_coverage(settings: MultiBlock.Settings, grid: Grid) -> Shares:
    """Probability that a token is in at least one target, for uniformly placed blocks.

    Exact for placement; the sampler's redrawing of short contexts moves it by at most
    `SHORT_SHARE` (with the default context share).
    """
    masking = MultiBlock(settings, grid)
    expected = np.zeros(grid)
    for size, probability in masking.target_sizes.items():
        expected += probability * (1 - (1 - _in_block(grid, size)) ** settings.num_targets)
    return expected


def expected_context_coverage(settings: MultiBlock.Settings, grid: Grid) -> Shares:
    """Probability that a token is kept by the first context, to first order.

    Exact is the probability that a token is *legal*, in the context block and in no target. Of an
    image's legal tokens a uniform subset is kept; here their number is taken at its mean, which
    ignores how it varies with the token being legal.
    """
    masking = MultiBlock(settings, grid)
    expected = np.zeros(grid)
    for target_size, target_probability in masking.target_sizes.items():
        no_target = (1 - _in_block(grid, target_size)) ** settings.num_targets
        for context_size, context_probability in masking.context_sizes.items():
            legal = no_target * _in_block(grid, context_size)
            num_kept = masking.num_context[target_size, context_size]
            expected += target_probability * context_probability * legal * num_kept / legal.sum()
    return expected


def _in_block(grid: Grid, size: Size) -> Shares:
    """Probability that each token is in one uniformly placed block of this size."""
    rows, columns = (_in_interval(*sides) for sides in zip(grid, size, strict=True))
    return rows[:, None] * columns


def _in_interval(length: int, side: int) -> Float[np.ndarray, " S"]:
    """Probability that each of `length` places is in an interval of `side` places."""
    place = np.arange(length)
    last_start = length - side
    num_starts = np.minimum(place, last_start) - np.maximum(place - side + 1, 0) + 1
    return num_starts / (last_start + 1)
