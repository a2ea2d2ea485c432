"""What block-shaped samplers share: ranges, sizes, places, and choosing tokens without bias.

Everything works on a whole batch at once; nothing loops over images.
"""

from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import AfterValidator, Field

from jepakit.core.tensors import MaskIndices
from jepakit.masking.masking import Grid

Size = tuple[int, int]  # rows, columns of one block


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if low > high:
        raise ValueError(f"a range is written (low, high), so write ({high:g}, {low:g})")
    return bounds


Share = Annotated[float, Field(gt=0, le=1)]
ShareRange = Annotated[tuple[Share, Share], AfterValidator(_ordered)]
Aspect = Annotated[float, Field(ge=0.01, le=100)]
AspectRange = Annotated[tuple[Aspect, Aspect], AfterValidator(_ordered)]


def check_grid(grid: Grid) -> None:
    """Raise `ValueError` for a grid on which masks make no sense (a side below 3)."""
    if min(grid) < 3:
        raise ValueError(
            f"a grid of {grid[0]} x {grid[1]} tokens is too small to mask: choose a larger image "
            "or smaller patches, so that the grid is at least 3 x 3"
        )


def block_sizes(
    grid: Grid, scale: tuple[float, float], aspect: tuple[float, float], num_strata: int
) -> dict[Size, float]:
    """Every block size that can be drawn, with its probability.

    Area (share of the grid) is uniform in `scale`; aspect (height / width) is log-uniform and
    independent of it. The middles of `num_strata` equally likely strata stand for each range,
    which bounds the number of shapes on every grid. Sides are rounded and at least 1. A block too
    tall or wide for the grid fills that side and keeps its area along the other.
    """
    num_rows, num_columns = grid
    middles = (np.arange(num_strata) + 0.5) / num_strata
    areas = (scale[0] + middles * (scale[1] - scale[0])) * num_rows * num_columns
    aspects = aspect[0] * (aspect[1] / aspect[0]) ** middles
    sizes: dict[Size, float] = {}
    for area in areas:
        for ratio in aspects:
            height, width = np.sqrt(area * ratio), np.sqrt(area / ratio)
            if height > num_rows:
                width = area / num_rows
            elif width > num_columns:
                height = area / num_columns
            size = (_side(height, num_rows), _side(width, num_columns))
            sizes[size] = sizes.get(size, 0.0) + 1 / num_strata**2
    return sizes


def _side(length: float, limit: int) -> int:
    return min(max(round(float(length)), 1), limit)


def draw_size(sizes: dict[Size, float], generator: np.random.Generator) -> Size:
    """One of `sizes`, by its probability."""
    draw = generator.random()
    for size, probability in sizes.items():
        draw -= probability
        if draw < 0:
            return size
    return size  # the probabilities add up to one but for rounding


def draw_corners(
    uniforms: Float[np.ndarray, "B M 2"], grid: Grid, size: Size
) -> Int[np.ndarray, "B M"]:
    """The top left token of each block; every place where the block fits is equally likely."""
    num_places = np.array([grid[0] - size[0] + 1, grid[1] - size[1] + 1])
    corners = (uniforms * num_places).astype(np.int64)
    return corners[..., 0] * grid[1] + corners[..., 1]


def block_indices(
    corners: Int[np.ndarray, "B M"], grid: Grid, size: Size
) -> Int[np.ndarray, "B M L"]:
    """The tokens of each block, ascending."""
    offsets = np.arange(size[0])[:, None] * grid[1] + np.arange(size[1])
    return corners[..., None] + offsets.ravel()


def inside_block(
    corners: Int[np.ndarray, "..."], grid: Grid, size: Size
) -> Bool[np.ndarray, "... N"]:
    """Which of the grid's tokens lie in each block; for large blocks cheaper than their indices."""
    tops, lefts = np.divmod(corners[..., None], grid[1])
    rows, columns = np.arange(grid[0]) - tops, np.arange(grid[1]) - lefts
    in_rows, in_columns = (rows >= 0) & (rows < size[0]), (columns >= 0) & (columns < size[1])
    inside = in_rows[..., :, None] & in_columns[..., None, :]
    return inside.reshape(*corners.shape, grid[0] * grid[1])


def covered(indices: Int[np.ndarray, "B M L"], num_tokens: int) -> Bool[np.ndarray, "B N"]:
    """Which of the grid's tokens appear among each image's indices."""
    num_images = len(indices)
    marks = np.zeros(num_images * num_tokens, dtype=bool)
    first_tokens = np.arange(num_images) * num_tokens
    marks[(indices + first_tokens[:, None, None]).ravel()] = True
    return marks.reshape(num_images, num_tokens)


def num_uniforms_to_choose(num_tokens: int) -> int:
    """How many uniform numbers per row `choose` takes: each makes the keys of two tokens."""
    return (num_tokens + 1) // 2


def choose(
    allowed: Bool[np.ndarray, "... N"], num_chosen: int, uniforms: Float[np.ndarray, "... U"]
) -> Int[np.ndarray, "... K"]:
    """`num_chosen` of the allowed tokens of each row, ascending; every subset equally likely.

    Each token gets a random key of 26 bits and the smallest keys win. The token's own number sits
    below the key, so that one partial sort of integers gives the winners.
    """
    key_bits, index_bits = 26, 22
    num_tokens = allowed.shape[-1]
    assert num_tokens < 2**index_bits
    assert uniforms.shape[-1] == num_uniforms_to_choose(num_tokens)
    both = (uniforms * 2.0 ** (2 * key_bits)).astype(np.int64)
    keys = np.concatenate([both >> key_bits, both & (2**key_bits - 1)], axis=-1)[..., :num_tokens]
    keys <<= index_bits
    keys |= np.arange(num_tokens)
    # Arithmetic, because assigning at scattered marks costs several times as much.
    forbidden = 1 << 62
    keys |= np.multiply(~allowed, forbidden, dtype=np.int64)
    smallest = np.partition(keys, num_chosen - 1, axis=-1)[..., :num_chosen]
    assert smallest.max(initial=0) < forbidden, "a row allows fewer tokens than asked for"
    winners = smallest & (2**index_bits - 1)
    winners.sort(axis=-1)
    return winners


def num_marks(marks: Bool[np.ndarray, "... N"]) -> Int[np.ndarray, "..."]:
    """How many tokens of each row are marked."""
    return marks.sum(axis=-1, dtype=np.int32)


def positions_of(marks: Bool[np.ndarray, "B N"]) -> Int[np.ndarray, "B K"]:
    """The marked tokens of each row, ascending; every row must have equally many marks."""
    return (np.flatnonzero(marks) % marks.shape[1]).reshape(len(marks), -1)


def mask_indices(
    context: Int[np.ndarray, "B J K"], targets: Int[np.ndarray, "B M L"]
) -> MaskIndices:
    """The same masks as torch tensors."""
    return MaskIndices(torch.from_numpy(context), torch.from_numpy(targets))
