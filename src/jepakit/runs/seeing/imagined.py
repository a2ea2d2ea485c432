"""Imagined contents on the page: samples of a decoder beside what shows what they are worth."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jepakit.data.sources.source import Box
from jepakit.runs.prediction import patches_in
from jepakit.runs.seeing.decoder import Decoder, check_same_model, check_same_size
from jepakit.runs.seeing.imagine import box_sides, imagine, num_ticks, pasted
from jepakit.runs.seeing.imagine_scores import foreign_rows, rows_of
from jepakit.runs.seeing.imagine_settings import ImagineSettings
from jepakit.runs.seeing.looking import Looking, NotDrawn, Shown, ticking
from jepakit.runs.seeing.untrained import untrained_trio
from jepakit.visualization import Gallery, Picture
from jepakit.visualization.heat import frame_patches
from jepakit.visualization.tiles import Tile, resize, sheet, side_by_side, tile_size, to_colour

_TILE = 96
_NUM_CONTROLS = 2  # samples of each control
_UNSEEN = 127  # grey of what the model does not see


def show_imagine(looking: Looking) -> Shown:
    """Per picture: original, context, samples from the prediction, and of each control. `NotDrawn`.

    A sample is framed and lies in the original picture. The same seeds serve every column.
    """
    decoder = looking.decoder
    if decoder is None:
        raise NotDrawn(
            "name a decoder's run, --decoder RUN; `jepa pretrain configs/decoder/scenes_cpu.yaml "
            f"objective.model={looking.loaded.name}` trains one"
        )
    looking.trio()  # `NotDrawn` if the model cannot predict
    try:
        check_same_model(decoder, looking.loaded)
        check_same_size(decoder, looking.size)
        settings, box = looking.settings.imagine, box_on(looking)
    except ValueError as error:
        raise NotDrawn(str(error)) from None
    columns = ["original", "context"]
    drawn: list[Tensor] = []
    rows = rows_of(decoder, untrained_trio(looking))
    boxes, few = [box] * len(looking.pictures), min(_NUM_CONTROLS, settings.samples)
    numbers = [settings.samples if s.told == "predicted" else few for s in rows.values()]
    with looking.counting("imagined contents") as count:
        tick = ticking(count, sum(num_ticks(len(boxes), number) for number in numbers))
        for (name, source), number in zip(rows.items(), numbers, strict=True):
            arguments = (decoder, looking.pictures, boxes, range(number), source.told, settings)
            drawn.append(imagine(source.trio, *arguments, tick))
            columns += [name, *[""] * (number - 1)]
    samples = torch.cat(drawn, dim=1)
    strips = [
        _strip(looking, view, box, contents)
        for view, contents in zip(looking.pictures, samples, strict=True)
    ]
    pictures = tuple(
        Picture(
            strip,
            f"picture {n}: {', '.join(filter(None, columns))}",
            columns=tuple(columns),
            wide=True,
        )
        for n, strip in enumerate(strips, 1)
    )
    gallery = Gallery(
        pictures, heading="Imagined contents", caption=_caption(decoder, settings), narrowest=900
    )
    return Shown([gallery], {"imagine": sheet(strips, columns)})


def box_on(looking: Looking) -> Box:
    """The box of the settings in pixels, in the middle unless told otherwise. `ValueError`."""
    settings, grid = looking.settings.imagine, looking.grid
    sides = box_sides(grid, settings)
    middle = tuple((n - side) // 2 for n, side in zip(grid, sides, strict=True))
    row, column = settings.corner or middle
    height, width = (n // cells for n, cells in zip(looking.size, grid, strict=True))
    box = (row * height, column * width, sides[0] * height, sides[1] * width)
    patches_in(box, (height, width), grid, "the box of imagine.corner and imagine.block")
    return box


def _strip(looking: Looking, view: Tensor, box: Box, contents: Tensor) -> Tile:
    size = tile_size(looking.size, looking.grid, _TILE)
    unseen = torch.full_like(contents[0], _UNSEEN)
    shown = [view, *(pasted(view, box, content) for content in (unseen, *contents))]
    cell = (looking.size[0] // looking.grid[0], looking.size[1] // looking.grid[1])
    inside = patches_in(box, cell, looking.grid, "box")
    tiles = [resize(tile, size) for tile in to_colour(torch.stack(shown))]
    return side_by_side([frame_patches(tile, np.asarray(inside)) for tile in tiles])


def _caption(decoder: Decoder, settings: ImagineSettings) -> str:
    return (
        "The framed box was hidden; the decoder drew its content from a representation alone, each "
        "sample from other noise. What all samples of the prediction share is what it holds. Told "
        "the true representation, the decoder shows what it could draw at best; told what "
        "untrained networks predict, or nothing but the place, what it draws anyway. "
        f"{foreign_rows(decoder)}Sampler {settings.sampler}, guidance {settings.guidance:g}."
    )
