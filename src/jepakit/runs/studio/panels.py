"""The studio's answers as HTML: one panel per question, in it one column per model."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Literal

import numpy as np
from torch import Tensor

from jepakit.models.positions import Grid
from jepakit.runs.seeing.retrieval import crop_block
from jepakit.runs.studio.box import ChosenPatch, HiddenBox
from jepakit.runs.studio.sight import Sight
from jepakit.visualization import Picture
from jepakit.visualization.heat import draw_heat, frame_patches, heat_colours
from jepakit.visualization.tiles import Tile, resize, side_by_side, tile_size

Panel = Literal["surprise", "expected", "imagined", "resemblance"]

_TILE = 320  # pixels of a picture's longer side
_CROP = 128  # pixels of a retrieved block's longer side
_OUTER = 0.02  # of the usual energies lie beyond the darkest and the brightest colour, at each end

_WORDS: dict[Panel, tuple[str, str]] = {
    "surprise": (
        "Surprise",
        "How far the prediction is from what is there. Dark is expected, bright is surprising.",
    ),
    "expected": (
        "What the model expects in the box",
        "Real blocks of other pictures, found by their representations. No decoder is involved.",
    ),
    "imagined": (
        "What it imagines there",
        "Samples of a decoder that sees only the prediction. What they share is what the "
        "prediction holds.",
    ),
    "resemblance": (
        "What resembles the chosen patch",
        "Click another patch of the picture to choose it.",
    ),
}


def panel(kind: Panel, columns: Sequence[tuple[str, str]]) -> str:
    """The whole panel, of (model's name, its HTML) pairs; a single model needs no name."""
    heading, lead = _WORDS[kind]
    named = len(columns) > 1
    parts = [
        '<div class="model">' + (f"<h3>{escape(name)}</h3>" if named else "") + f"{body}</div>"
        for name, body in columns
    ]
    scale = _scale() if kind == "surprise" else ""
    return (
        f'<section class="panel" aria-labelledby="{kind}-title"><h2 id="{kind}-title">{heading}'
        f'</h2><p class="lead">{lead}</p>{scale}<div class="models">{"".join(parts)}</div>'
        "</section>"
    )


def note(sentence: str) -> str:
    """A sentence where a drawing would be."""
    return f'<p class="note">{escape(sentence)}</p>'


def surprise(sight: Sight, box: HiddenBox, everywhere: bool) -> str:
    """Energy in the box, and over the whole picture if that is asked for. `NotDrawn`."""
    energy, usual = sight.surprise(box), sight.looker.usual_surprise
    low, high = (float(bound) for bound in np.quantile(usual, (_OUTER, 1 - _OUTER)))
    mean, common = float(energy.mean()), float(usual.mean())
    marks, picture = box.patches(sight.looker.grid), _picture(sight)
    inside = _shown(
        frame_patches(_heat_inside(picture, energy, marks, low, high), marks),
        f"The picture, with surprise as colour in the box of {_place(box)}; its mean is {mean:.3f}",
        caption=f"In the box: {mean:.3f} on average. {common:.3f} is the mean over "
        f"{len(sight.looker.looking.usual)} other pictures with their middle hidden.",
    )
    if not everywhere:
        return _pair(inside, '<div class="shown waiting">looking at every place …</div>')
    whole = sight.energy
    row, column = np.unravel_index(int(whole.argmax()), whole.shape)
    drawn = frame_patches(draw_heat(picture, whole, low, high), marks)
    words = f"most in row {row + 1}, column {column + 1}"
    everywhere_figure = _shown(
        drawn,
        f"Surprise at every place of the picture: {words}",
        caption=f"Everywhere, each place predicted from what is around it: {words}.",
    )
    return _pair(inside, everywhere_figure)


def expected(sight: Sight, box: HiddenBox) -> str:
    """Two strips: nearest to the prediction, nearest to the truth. `NotDrawn`."""
    looker, found = sight.looker, sight.expected(box)
    size = tile_size(box.pixels(looker.looking.loaded.encoder.patch)[2:], tile=_CROP)
    real = crop_block(sight.tile, box.places(looker.grid), looker.grid, size)
    rows = [
        _strip(sight, _hatched(real.shape[:2]), found.to_prediction[0], "hidden", "the prediction"),
        _strip(sight, real, found.to_truth[0], "what is there", "what is there"),
    ]
    share = float(found.beaten[0])
    told = (
        f"What is there is nearer to the prediction than {share:.0%} of what {len(looker.gallery)} "
        "other pictures hold at this place; 50 % would be chance."
    )
    return f'<div class="retrieved">{"".join(rows)}</div>{note(told)}'


def _hatched(size: tuple[int, int]) -> Tile:
    """What cannot be seen."""
    stripes = np.add.outer(np.arange(size[0]), np.arange(size[1])) // 8 % 2
    return np.repeat((44 + 30 * stripes).astype(np.uint8)[..., None], 3, axis=2)


def _strip(
    sight: Sight, first: Tile, near: Sequence[tuple[int, Tensor]], name: str, what: str
) -> str:
    """The box, and the gallery's blocks that are nearest to something in it."""
    looker, size = sight.looker, (first.shape[0], first.shape[1])
    crops = [
        crop_block(looker.gallery_tiles[picture], tokens, looker.grid, size)
        for picture, tokens in near
    ]
    columns = (name, "nearest", *(str(place) for place in range(2, len(crops) + 1)))
    alt = f"{name}, then the {len(crops)} blocks of other pictures that are nearest to {what}"
    strip = _shown(side_by_side([first, *crops]), alt, columns=columns)
    return f"<div><h4>Nearest to {what}</h4>{strip}</div>"


def imagined(sight: Sight, box: HiddenBox, samples: Sequence[Tile]) -> str:
    """The picture with the box as it was imagined, once per sample."""
    marks = box.patches(sight.looker.grid)
    figures = [
        _shown(
            frame_patches(resize(sample, _size(sight)), marks),
            f"Sample {number}: the box of {_place(box)} as a decoder imagines it",
            caption=f"Sample {number}",
        )
        for number, sample in enumerate(samples, 1)
    ]
    return f'<div class="samples">{"".join(figures)}</div>'


def resemblance(sight: Sight, patch: ChosenPatch) -> str:
    """The cosine of the chosen patch with all places, and the colours of all tokens."""
    picture, values = _picture(sight), sight.resembling(patch)
    marks = HiddenBox(patch.row, patch.column, 1, 1).patches(sight.looker.grid)
    drawn = frame_patches(draw_heat(picture, values, 0.0, 1.0, 0.25), marks)
    share = float((values > 0.5).mean())
    where = f"row {patch.row + 1}, column {patch.column + 1}"
    alike = _shown(
        drawn,
        f"The picture; bright is what resembles the patch in {where}: {share:.0%} of it clearly",
        caption=f"Bright resembles the patch in {where} (cosine of the last layer's tokens).",
    )
    colours = _shown(
        resize(sight.colours, _size(sight), smooth=False),
        "The tokens as colours: their first three principal components",
        caption="All tokens as colours: places of one colour are alike, in other pictures too.",
    )
    return _pair(alike, colours)


def _shown(tile: Tile, alt: str, caption: str = "", columns: tuple[str, ...] = ()) -> str:
    return Picture(tile, alt, caption, columns=columns, quick=True).figure("shown")


def _heat_inside(
    picture: Tile, energy: np.ndarray, marks: np.ndarray, low: float, high: float
) -> Tile:
    """The picture, and in the marked patches the heat of `energy`, sharp at the box's edge."""
    rows = _pixels(np.any(marks, axis=1), picture.shape[0])
    columns = _pixels(np.any(marks, axis=0), picture.shape[1])
    drawn = picture.copy()
    drawn[rows, columns] = draw_heat(picture[rows, columns], energy, low, high, 0.35, smooth=False)
    return drawn


def _pixels(inside: Any, length: int) -> slice:
    """The pixels of the marked patches along one axis."""
    places, size = np.flatnonzero(inside), length // len(inside)
    return slice(int(places[0]) * size, (int(places[-1]) + 1) * size)


def _pair(first: str, second: str) -> str:
    return f'<div class="pair">{first}{second}</div>'


def _scale() -> str:
    stops = ",".join(
        f"rgb({','.join(str(round(float(part))) for part in colour)})"
        for colour in heat_colours(np.linspace(0, 1, 6))
    )
    bar = f'<span class="bar" style="background:linear-gradient(90deg,{stops})"></span>'
    return f'<p class="scale" aria-hidden="true">expected {bar} surprising</p>'


def _place(box: HiddenBox) -> str:
    return (
        f"rows {box.top + 1} to {box.top + box.height}, columns {box.left + 1} to "
        f"{box.left + box.width}"
    )


def _size(sight: Sight) -> tuple[int, int]:
    """Height and width in whole pixels per patch."""
    grid: Grid = sight.looker.grid
    return tile_size((sight.tile.shape[0], sight.tile.shape[1]), grid, _TILE)


def _picture(sight: Sight) -> Tile:
    return resize(sight.tile, _size(sight))
