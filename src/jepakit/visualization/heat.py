"""One number per patch as colour over the picture: dark is little, bright is much."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from jepakit.visualization.tiles import Tile

# Brightness rises evenly, so that the map can also be read without colours.
_ANCHORS = np.array(
    [(14, 10, 38), (64, 22, 106), (132, 32, 112), (200, 58, 84), (240, 122, 48), (252, 214, 112)],
    np.float32,
)
_FRAME = (255, 255, 255)


def heat_colours(values: Float[np.ndarray, "*shape"]) -> np.ndarray:
    """Values in [0, 1], clipped, as RGB in [0, 255]; what is not finite is grey."""
    finite = np.isfinite(values)
    place = np.clip(np.where(finite, values, 0), 0, 1) * (len(_ANCHORS) - 1)
    below = np.minimum(place.astype(int), len(_ANCHORS) - 2)
    share = (place - below)[..., None]
    colours = _ANCHORS[below] * (1 - share) + _ANCHORS[below + 1] * share
    return np.where(finite[..., None], colours, 128.0)


def draw_heat(
    picture: Tile,
    values: Float[np.ndarray, "rows columns"],
    low: float,
    high: float,
    over: float = 0.3,
    smooth: bool = True,
) -> Tile:
    """The map at the tile's size, with the grey picture showing through by a share of `over`.

    `low` and `high` become the darkest and the brightest colour.
    """
    scaled = (values - low) / max(high - low, 1e-12)
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    height, width = picture.shape[:2]
    large = Image.fromarray(scaled.astype(np.float32)).resize((width, height), method)
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    return (heat_colours(np.asarray(large)) * (1 - over) + grey * over).round().astype(np.uint8)


def frame_patches(picture: Tile, chosen: Bool[np.ndarray, "rows columns"]) -> Tile:
    """The tile with a white and dark line around the chosen patches."""
    height, width = picture.shape[:2]
    rows = np.arange(height) * chosen.shape[0] // height
    columns = np.arange(width) * chosen.shape[1] // width
    inside = chosen[rows][:, columns]
    framed = picture.copy()
    outer, inner = _rim(inside, 2), _rim(inside, 3)
    framed[inner] = (0, 0, 0)
    framed[outer] = _FRAME
    return framed


def _rim(inside: np.ndarray, thickness: int) -> np.ndarray:
    """The pixels inside that are near to the outside; the tile's edge counts as outside."""
    core = np.pad(inside, thickness)
    size = inside.shape
    around = [
        core[down : down + size[0], right : right + size[1]]
        for down in (0, thickness, 2 * thickness)
        for right in (0, thickness, 2 * thickness)
    ]
    return inside & ~np.logical_and.reduce(around)
