"""Pictures as tiles of one legible size, and tiles laid out as strips and sheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from jepakit.masking.masking import Grid

TILE = 192  # pixels of a tile's longer side
GAP = 4  # pixels between tiles and between strips
GAP_COLOUR = (160, 163, 172)  # a grey that separates on light and on dark pages
_TEXT = 12  # pixels of the names of columns
_LINE = 1.25  # height of a line, in these
_PAPER, _INK = (255, 255, 255), (40, 42, 54)
_SMALLEST_CELL = 3  # pixels a patch needs for an outline and its inside

Tile = UInt8[np.ndarray, "_ _ 3"]  # height, width


def to_colour(pictures: UInt8[Tensor, "B C H W"]) -> UInt8[np.ndarray, "B H W 3"]:
    """What can be shown of pictures with any number of channels: the first three, or the first."""
    shown = pictures[:, :3] if pictures.shape[1] >= 3 else pictures[:, :1].expand(-1, 3, -1, -1)
    return np.ascontiguousarray(shown.permute(0, 2, 3, 1).cpu().numpy())


def tile_size(picture: tuple[int, int], grid: Grid = (1, 1), tile: int = TILE) -> tuple[int, int]:
    """Height and width of a picture's tile: whole pixels per patch, longer side about `tile`."""
    scale = tile / max(picture)
    height, width = (
        patches * max(_SMALLEST_CELL, round(scale * side / patches))
        for side, patches in zip(picture, grid, strict=True)
    )
    return height, width


def resize(picture: Tile, size: tuple[int, int], smooth: bool = True) -> Tile:
    """A picture at `size` (height, width): bicubic, or with every pixel kept a sharp rectangle."""
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), method))


def side_by_side(tiles: Sequence[Tile]) -> Tile:
    """Tiles of equal height in a strip, from left to right."""
    return _joined(tiles, axis=1)


def stacked(strips: Sequence[Tile]) -> Tile:
    """Strips of equal width as a sheet, from top to bottom."""
    return _joined(strips, axis=0)


def sheet(strips: Sequence[Tile], columns: Sequence[str]) -> Tile:
    """Strips of equal width under the names of their columns; "" goes on with the one before."""
    body = stacked(strips)
    return np.concatenate([_heading(columns, body.shape[1]), body])


def _heading(columns: Sequence[str], width: int) -> Tile:
    """The names in a line, each over its columns, broken between words where it is too long."""
    font = ImageFont.load_default(size=_TEXT)
    begins = [n for n, name in enumerate(columns) if name]
    edges = [round(n * (width + GAP) / len(columns)) for n in (*begins, len(columns))]
    texts = [
        _broken(columns[n], font, right - left - GAP)
        for n, left, right in zip(begins, edges, edges[1:], strict=False)
    ]
    lines = max(text.count("\n") for text in texts) + 1
    paper = Image.new("RGB", (width, round(lines * _LINE * _TEXT) + 2 * GAP), _PAPER)
    pen = ImageDraw.Draw(paper)
    for left, text in zip(edges, texts, strict=False):
        pen.multiline_text((left + 1, GAP), text, fill=_INK, font=font, spacing=_TEXT // 4)
    return np.asarray(paper)


def _broken(name: str, font: Any, width: int) -> str:
    lines = [""]
    for word in name.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _joined(parts: Sequence[Tile], axis: int) -> Tile:
    if not parts:
        raise ValueError("there are no pictures to draw: give at least one")
    shape = list(parts[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, GAP_COLOUR, dtype=np.uint8)
    spaced = [piece for part in parts for piece in (part, gap)][:-1]
    return np.concatenate(spaced, axis=axis)
