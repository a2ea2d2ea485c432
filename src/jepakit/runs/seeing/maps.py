"""What tokens hold: colours, foreground, resemblance to a patch, segments, attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from jepakit.evaluation.features import Reading
from jepakit.models import Encoder
from jepakit.models.attention import attention_weights
from jepakit.models.backbone import Backbone
from jepakit.models.positions import Grid
from jepakit.runs.seeing.looking import Looking, Shown
from jepakit.visualization import Gallery, Picture, Section, Text, token_colours
from jepakit.visualization.heat import draw_heat, frame_patches
from jepakit.visualization.masks import target_colour
from jepakit.visualization.tiles import (
    Tile,
    resize,
    sheet,
    side_by_side,
    tile_size,
    to_colour,
)
from jepakit.visualization.token_maps import (
    foreground_scores,
    segments,
    separate,
    similarities,
)

_OUTER = 0.005  # of the values lie beyond the brightest colour


@dataclass(frozen=True)
class _Column:
    """One encoder's tokens at one layer, and how they are called."""

    name: str
    tokens: Float[Tensor, "B N D"]
    last: bool


def show_maps(looking: Looking) -> Shown:
    """One chapter per kind of map; a strip per picture, a column per encoder and layer."""
    finer = looking.finer()
    rows, columns = looking.grid
    grid = (rows * finer, columns * finer)
    found = [
        _Column(
            f"{name}, layer {layer + 1} of {encoder.depth}",
            _tokens(looking, encoder, layer, finer),
            layer == encoder.depth - 1,
        )
        for name, encoder in looking.encoders.items()
        for layer in _layers(looking, encoder)
    ]
    size = tile_size((looking.size[0], looking.size[1]))
    originals = [resize(picture, size) for picture in to_colour(looking.pictures)]
    last = [column for column in found if column.last]
    foregrounds = [foreground_scores(column.tokens, grid) for column in last]
    patches = _patches(looking, foregrounds[0], grid)
    kinds = {
        "colours": _colours(found, originals, grid),
        "foreground": _foreground(last, foregrounds, originals, grid),
        "similarity": _similarity(last, originals, patches, grid),
        "segments": _segments(last, originals, looking, grid),
        **_attention(looking, originals, patches, finer),
    }
    sections: list[Section] = [
        _gallery(kind, names, strips) for kind, (names, strips) in kinds.items()
    ]
    if "attention" not in kinds:
        sections.append(Text("This encoder is not built like ours: its attention is not drawn."))
    sheets = {f"maps-{kind}": sheet(strips, names) for kind, (names, strips) in kinds.items()}
    return Shown(sections, sheets)


def colour_strips(looking: Looking, encoders: Mapping[str, Backbone]) -> list[Tile]:
    """Per picture the original and the token colours of each encoder's last layer."""
    finer = looking.finer()
    grid = (looking.grid[0] * finer, looking.grid[1] * finer)
    found = [
        _Column(name, _tokens(looking, encoder, encoder.depth - 1, finer), True)
        for name, encoder in encoders.items()
    ]
    size = tile_size((looking.size[0], looking.size[1]))
    return _colours(found, [resize(p, size) for p in to_colour(looking.pictures)], grid)[1]


_WORDS = {
    "colours": (
        "What the tokens have in common",
        "The first three principal components of all tokens as red, green and blue: patches of one "
        "colour are alike, across pictures too.",
    ),
    "foreground": (
        "Foreground",
        "Tokens parted by their first principal component (Otsu's threshold); colours are the "
        "components of the foreground's tokens alone.",
    ),
    "similarity": (
        "What resembles one patch",
        "The cosine of the framed patch with every other patch of its picture.",
    ),
    "segments": (
        "Segments",
        "k-means over the tokens of all pictures: one colour is one group, across pictures too.",
    ),
    "attention": (
        "Attention",
        "How much attention each patch receives from all patches, averaged over heads, in the last "
        "layers; and where the framed patch looks in the very last one.",
    ),
}

Strips = tuple[tuple[str, ...], list[Tile]]


def _gallery(kind: str, names: tuple[str, ...], strips: Sequence[Tile]) -> Gallery:
    heading, caption = _WORDS[kind]
    return Gallery(
        tuple(
            Picture(strip, f"picture {n}: {', '.join(names)}", columns=names)
            for n, strip in enumerate(strips, 1)
        ),
        heading=heading,
        caption=caption,
        narrowest=150 * len(names),
    )


def _layers(looking: Looking, encoder: Backbone) -> list[int]:
    """Counted from 0, in order; `ValueError` for one that is not there."""
    depth = encoder.depth
    asked = looking.settings.maps.layers or (*([depth // 2 - 1] if depth > 1 else []), -1)
    Reading(tuple(asked)).check(depth)
    return sorted({layer % depth for layer in asked})


def _tokens(looking: Looking, encoder: Backbone, layer: int, finer: int) -> Float[Tensor, "B N D"]:
    """Without what every picture has at a place, and without what is everywhere in a picture."""
    usual = None
    if "place" in looking.settings.maps.without:
        usual = looking.tokens(encoder, layer, looking.usual, finer).mean(dim=0)
    tokens = looking.tokens(encoder, layer, looking.pictures, finer)
    return content(tokens, usual, "picture" in looking.settings.maps.without)


def content(
    tokens: Float[Tensor, "B N D"], usual: Float[Tensor, "N D"] | None, without_picture: bool
) -> Float[Tensor, "B N D"]:
    """Tokens without what is `usual` at a place, and without what is everywhere in a picture.

    Both often fill the first components, which then say little about what is where.
    """
    if usual is not None:
        tokens = tokens - usual
    return tokens - tokens.mean(dim=1, keepdim=True) if without_picture else tokens


def _patches(looking: Looking, foreground: Float[Tensor, "B N"], grid: Grid) -> Int[Tensor, " B"]:
    """The patch of each picture that others are compared with, as a place in the finer grid."""
    given = looking.settings.maps.patch
    if given is None:
        return foreground.argmax(dim=1)
    rows, columns = looking.grid
    if not (0 <= given[0] < rows and 0 <= given[1] < columns):
        raise ValueError(
            f"maps.patch={list(given)} is outside of the grid: rows are 0 to {rows - 1}, columns 0 "
            f"to {columns - 1}"
        )
    finer = grid[0] // rows
    row, column = (place * finer + finer // 2 for place in given)  # the token at its middle
    place = row * grid[1] + column
    return torch.full((len(foreground),), place)


def _colours(found: Sequence[_Column], originals: Sequence[Tile], grid: Grid) -> Strips:
    maps = [token_colours(column.tokens, grid) for column in found]
    return ("original", *(column.name for column in found)), _strips(originals, maps)


def _foreground(
    last: Sequence[_Column],
    scores: Sequence[Float[Tensor, "B N"]],
    originals: Sequence[Tile],
    grid: Grid,
) -> Strips:
    maps = []
    for column, score in zip(last, scores, strict=True):
        inside = separate(score)
        colours = token_colours(column.tokens[inside][None], (1, int(inside.sum())))[0, 0]
        shown = torch.full((*inside.shape, 3), 0.09)
        shown[inside] = 0.25 + 0.75 * colours
        maps.append(shown.view(len(inside), *grid, 3))
    return ("original", *(column.name for column in last)), _strips(originals, maps)


def _similarity(
    last: Sequence[_Column],
    originals: Sequence[Tile],
    patches: Int[Tensor, " B"],
    grid: Grid,
) -> Strips:
    framed = _framed(originals, patches, grid)
    values = [similarities(column.tokens, patches).view(-1, *grid).numpy() for column in last]
    strips = [
        side_by_side([tile, *(draw_heat(tile, v[n], 0.0, 1.0, 0.25) for v in values)])
        for n, tile in enumerate(framed)
    ]
    return ("original", *(column.name for column in last)), strips


def _segments(
    last: Sequence[_Column], originals: Sequence[Tile], looking: Looking, grid: Grid
) -> Strips:
    palette = torch.tensor([target_colour(n) for n in range(32)]) / 255
    number = looking.settings.maps.segments
    maps = [
        palette[torch.from_numpy(segments(column.tokens, number, looking.settings.seed))].view(
            -1, *grid, 3
        )
        for column in last
    ]
    return ("original", *(column.name for column in last)), _strips(originals, maps)


def _attention(
    looking: Looking, originals: Sequence[Tile], patches: Int[Tensor, " B"], finer: int
) -> Mapping[str, Strips]:
    name, encoder = next(iter(looking.encoders.items()))
    if not isinstance(encoder, Encoder):
        return {}
    grid = (looking.grid[0] * finer, looking.grid[1] * finer)
    number = min(looking.settings.maps.attention_layers, encoder.depth)
    received: list[Tensor] = []
    looks: list[Tensor] = []
    for view in looking.pictures.split(1):  # all pairs of tokens need much memory
        with looking.looking(encoder):
            layers = attention_weights(encoder, looking.enlarged(view, finer), number)
        # The square root shows what is weak beside a few patches that take nearly everything.
        weights = [layer[0].mean(dim=0).float().cpu() for layer in layers]  # N N
        received.append(torch.stack([w.mean(dim=0).sqrt() for w in weights]))
        looks.append(weights[-1][patches[len(looks)]].sqrt())
    per_layer = torch.stack(received, dim=1).unflatten(-1, grid).numpy()  # layers B rows columns
    chosen = torch.stack(looks).unflatten(-1, grid).numpy()
    framed = _framed(originals, patches, grid)
    maps = [*per_layer, chosen]
    highest = [float(np.quantile(one, 1 - _OUTER)) for one in maps]
    strips = [
        side_by_side(
            [
                tile,
                *(draw_heat(tile, m[n], 0.0, h, 0.25) for m, h in zip(maps, highest, strict=True)),
            ]
        )
        for n, tile in enumerate(framed)
    ]
    first = encoder.depth - number
    names = [f"{name}, layer {first + n + 1} of {encoder.depth}" for n in range(number)]
    return {"attention": (("original", *names, "from the framed patch"), strips)}


def _framed(originals: Sequence[Tile], patches: Int[Tensor, " B"], grid: Grid) -> list[Tile]:
    marks = torch.nn.functional.one_hot(patches, grid[0] * grid[1]).bool().view(-1, *grid)
    return [frame_patches(tile, mark.numpy()) for tile, mark in zip(originals, marks, strict=True)]


def _strips(
    originals: Sequence[Tile], maps: Sequence[Float[Tensor, "B rows columns 3"]]
) -> list[Tile]:
    pixels = [(255 * one).round().byte().numpy() for one in maps]
    return [
        side_by_side(
            [
                tile,
                *(resize(one[n], (tile.shape[0], tile.shape[1]), smooth=False) for one in pixels),
            ]
        )
        for n, tile in enumerate(originals)
    ]
