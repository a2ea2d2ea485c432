"""Showing what tokens have in common: their principal components as colours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from jepakit.masking.masking import Grid
from jepakit.models.encoder import Encoder
from jepakit.visualization.tiles import (
    TILE,
    Tile,
    resize,
    side_by_side,
    stacked,
    tile_size,
    to_colour,
)

_DARKEST, _BRIGHTEST = 0.02, 0.98  # quantiles that become 0 and 1: outliers do not set the scale


def draw_feature_maps(
    encoders: Mapping[str, Encoder],
    views: Float[Tensor, "B C H W"],
    pictures: UInt8[Tensor, "B C2 H2 W2"],
    finer: int = 1,
    content_only: bool = False,
    tile: int = TILE,
) -> Tile:
    """A contact sheet with one strip of `feature_map_strips` per picture."""
    return stacked(feature_map_strips(encoders, views, pictures, finer, content_only, tile))


def feature_map_strips(
    encoders: Mapping[str, Encoder],
    views: Float[Tensor, "B C H W"],
    pictures: UInt8[Tensor, "B C2 H2 W2"],
    finer: int = 1,
    content_only: bool = False,
    tile: int = TILE,
) -> list[Tile]:
    """Per picture: the original, then the token colours of each encoder, in the mapping's order.

    `views` are what the encoders take (normalised), `pictures` what is shown beside. `finer`
    enlarges the views that many times, for maps of that many times the rows and columns; the
    encoders then resample their positions. `content_only` first takes away the mean token of each
    place, which otherwise often fills the first components: colours then say what, not where.
    """
    if content_only and len(views) < 2:
        raise ValueError("content_only compares pictures with each other: give at least two")
    size = tile_size((pictures.shape[-2], pictures.shape[-1]), tile=tile)
    maps = [_map(encoder, views, finer, content_only) for encoder in encoders.values()]
    return [
        side_by_side([resize(picture, size), *(resize(m[i], size, smooth=False) for m in maps)])
        for i, picture in enumerate(to_colour(pictures))
    ]


def token_colours(tokens: Float[Tensor, "B N D"], grid: Grid) -> Float[Tensor, "B rows columns 3"]:
    """The first three principal components of all tokens together as red, green, blue in [0, 1].

    One basis serves all pictures, so equal tokens have equal colours everywhere. Each component is
    scaled between its outer quantiles; one that does not vary is 0.5.
    """
    if not tokens.isfinite().all():
        raise ValueError("the tokens hold values that are not finite: the encoder has diverged")
    flat = tokens.detach().flatten(0, 1).double().cpu()
    components = _principal_components(flat - flat.mean(dim=0))
    low, high = components.quantile(torch.tensor([_DARKEST, _BRIGHTEST]).double(), dim=0)
    spread = high - low
    varies = spread > 1e-6 * flat.abs().max()  # less is rounding of constant tokens
    scaled = (components - low) / spread.where(varies, torch.ones_like(spread))
    colours = torch.where(varies, scaled.clamp(0, 1), torch.full_like(scaled, 0.5))
    return colours.view(len(tokens), *grid, 3).float()


def _principal_components(centred: Float[Tensor, "T D"]) -> Float[Tensor, "T 3"]:
    """Coordinates on the three directions of largest variance; zeros where there are fewer."""
    _, directions = torch.linalg.eigh(centred.T @ centred)  # ascending variance
    directions = directions[:, -3:].flip(1)
    # A direction's sign is arbitrary: fix it, so that the same tokens always look the same.
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    components = centred @ (directions * largest.sign())
    return F.pad(components, (0, 3 - components.shape[1]))


@torch.no_grad()
def _map(
    encoder: Encoder, views: Float[Tensor, "B C H W"], finer: int, content_only: bool
) -> UInt8[np.ndarray, "B rows columns 3"]:
    """Token colours of one encoder; picture by picture, as finer maps need much memory."""
    weight = encoder.patch_embed.proj.weight
    if finer > 1:
        views = F.interpolate(views, scale_factor=finer, mode="bicubic", align_corners=False)
    grid = encoder.patch_embed.grid(views.shape[-2], views.shape[-1])
    tokens = torch.cat([encoder(view.to(weight)).float().cpu() for view in views.split(1)])
    if content_only:
        tokens = tokens - tokens.mean(dim=0)
    return (token_colours(tokens, grid) * 255).round().byte().numpy()
