"""Showing which patches the context encoder sees and which the predictor must guess."""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from jepakit.core.tensors import MaskIndices
from jepakit.masking.masking import Grid
from jepakit.visualization.tiles import (
    TILE,
    Tile,
    resize,
    side_by_side,
    stacked,
    tile_size,
    to_colour,
)

# Told apart with every common colour vision (after Okabe and Ito, brightened for dimmed pictures).
_COLOURS = (
    (255, 176, 0),
    (86, 190, 255),
    (0, 214, 143),
    (255, 122, 198),
    (255, 240, 80),
    (255, 106, 61),
    (160, 150, 255),
)
_DASH = 8  # pixels a colour keeps where outlines of several blocks run on top of each other


def draw_masks(
    pictures: UInt8[Tensor, "B C H W"], masks: MaskIndices, grid: Grid, tile: int = TILE
) -> Tile:
    """A contact sheet with one strip of `mask_strips` per picture."""
    return stacked(mask_strips(pictures, masks, grid, tile))


def mask_strips(
    pictures: UInt8[Tensor, "B C H W"], masks: MaskIndices, grid: Grid, tile: int = TILE
) -> list[Tile]:
    """Per picture: the original, each context with its hidden patches hatched, and the targets.

    Every target block is outlined just inside its border in the colour of `target_colour`.
    """
    _check(pictures, masks, grid)
    size = tile_size((pictures.shape[-2], pictures.shape[-1]), grid, tile)
    contexts, targets = masks.context.cpu().numpy(), masks.targets.cpu().numpy()
    strips = []
    for index, picture in enumerate(to_colour(pictures)):
        original = resize(picture, size)
        seen = [_hatch(original, _pixels(block, grid, size)) for block in contexts[index]]
        blocks = np.stack([_pixels(block, grid, size) for block in targets[index]])
        strips.append(side_by_side([original, *seen, _outline(original, blocks, grid)]))
    return strips


def target_colour(block: int) -> tuple[int, int, int]:
    """The RGB colour of a target block; distinct for as many blocks as there may be."""
    if block < len(_COLOURS):
        return _COLOURS[block]
    hue = (block * 0.618034) % 1  # steps of the golden ratio never come back to the same hue
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _check(pictures: Tensor, masks: MaskIndices, grid: Grid) -> None:
    if not len(pictures) == len(masks.context) == len(masks.targets):
        raise ValueError(
            f"{len(pictures)} pictures cannot be drawn with masks for {len(masks.context)}: "
            "give one mask per picture"
        )
    largest = max(int(part.max()) for part in (masks.context, masks.targets) if part.numel())
    if largest >= grid[0] * grid[1]:
        raise ValueError(
            f"the masks point at patch {largest}, but a grid of {grid[0]} x {grid[1]} ends at "
            f"{grid[0] * grid[1] - 1}: give the grid that the masks were drawn for"
        )


def _pixels(
    tokens: Int[np.ndarray, " L"], grid: Grid, size: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """Which pixels of a tile belong to the patches `tokens`."""
    chosen = np.zeros(grid[0] * grid[1], dtype=bool)
    chosen[tokens] = True
    cell = np.ones((size[0] // grid[0], size[1] // grid[1]), dtype=bool)
    return np.kron(chosen.reshape(grid), cell)


def _hatch(original: Tile, visible: Bool[np.ndarray, "height width"]) -> Tile:
    """Hidden pixels darkened, without colour and striped: hidden whatever the picture shows."""
    rows, columns = np.indices(visible.shape)
    stripe = (rows + columns) // 3 % 4 == 0
    grey = original.mean(axis=2)
    hidden = np.where(stripe, 74, 38) + 0.16 * grey
    return np.where(visible[..., None], original, hidden[..., None]).astype(np.uint8)


def _outline(original: Tile, blocks: Bool[np.ndarray, "M height width"], grid: Grid) -> Tile:
    """Everything but the blocks dimmed; each block framed, shared borders in dashes of each."""
    cell = min(original.shape[0] // grid[0], original.shape[1] // grid[1])
    thickness = max(1, min(3, cell // 4))
    inside = np.logical_or.reduce(blocks)[..., None]
    picture = np.where(inside, original, 0.38 * original)
    edges = np.stack([block & ~_eroded(block, thickness) for block in blocks])
    rows, columns = np.indices(original.shape[:2])
    turn = (rows + columns) // _DASH % np.maximum(edges.sum(axis=0), 1)
    place = edges.cumsum(axis=0) - 1
    if cell >= 8:  # a dark line inside the frames parts them from pictures of the same colour
        shadow = np.stack([block & ~_eroded(block, thickness + 1) for block in blocks])
        picture[shadow.any(axis=0)] *= 0.3
    for block, edge in enumerate(edges):
        picture[edge & (place[block] == turn)] = target_colour(block)
    return picture.astype(np.uint8)


def _eroded(
    block: Bool[np.ndarray, "height width"], pixels: int
) -> Bool[np.ndarray, "height width"]:
    """The block without a rim of `pixels`; outside the tile counts as outside the block."""
    for _ in range(pixels):
        ringed = np.pad(block, 1)
        block = ringed[1:-1, 1:-1] & ringed[:-2, 1:-1] & ringed[2:, 1:-1]
        block = block & ringed[1:-1, :-2] & ringed[1:-1, 2:]
    return block
