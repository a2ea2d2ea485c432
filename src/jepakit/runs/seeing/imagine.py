"""Pixels that a decoder draws from representations of hidden boxes: samples for every seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from jepakit.data.sources.source import Box
from jepakit.models.denoiser import place_of
from jepakit.models.positions import Grid
from jepakit.runs.prediction import patches_in
from jepakit.runs.seeing.decoder import Decoder, check_same_size
from jepakit.runs.seeing.energy import Trio, block_sides
from jepakit.runs.seeing.imagine_settings import ImagineSettings
from jepakit.runs.seeing.sampling import Rows, boxes_of, sample

Told = Literal["predicted", "target", "untrained", "nothing"]
Samples = UInt8[Tensor, "B S C h w"]
_TOGETHER = 64  # samples in memory at once


def imagine(
    trio: Trio,
    decoder: Decoder,
    views: UInt8[Tensor, "B C H W"],
    boxes: Sequence[Box],
    seeds: Sequence[int],
    told: Told = "predicted",
    settings: ImagineSettings | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Samples:
    """What the decoder draws in one box per picture, once per seed: the boxes' pixels on the CPU.

    Boxes are (top, left, height, width) in pixels, whole patches, all of one size. `told` says what
    the decoder hears of a box: what `trio` predicts there (everything else is seen; "untrained"
    where `trio` is), what `trio`'s target encoder makes of the true content, or nothing. A sample
    depends on its seed alone, not on other pictures. `tick` is called `num_ticks` times as the work
    goes on. `ValueError` for boxes that do not fit, and views of another size.
    """
    settings = settings or ImagineSettings()
    hidden = _hidden(decoder, views, boxes)
    tokens = torch.cat(
        [_TOLD[told](trio, view[None], places) for view, places in zip(views, hidden, strict=True)]
    )
    grid = decoder.objective.target_encoder.rows_and_columns(*views.shape[-2:])
    box, within = place_of(hidden.to(decoder.device), grid)
    voice = 0 if told == "nothing" else decoder.voice(told)
    rows = Rows(tokens.to(decoder.device), box, within, told == "nothing", voice)
    rows = rows.repeated(len(seeds))
    repeated = [seed for _ in boxes for seed in seeds]
    drawn = []
    for first in range(0, len(repeated), _TOGETHER):
        chunk = repeated[first : first + _TOGETHER]
        drawn.append(sample(decoder, rows.part(first, first + _TOGETHER), chunk, settings))
        tick()
    size = (boxes[0][2], boxes[0][3])
    found = boxes_of(decoder, torch.cat(drawn), rows.box, size, decoder.loaded.size)
    return found.unflatten(0, (len(boxes), len(seeds)))


def num_ticks(boxes: int, seeds: int) -> int:
    """How often `imagine` tells that it came further."""
    return -(-boxes * seeds // _TOGETHER)


def box_sides(grid: Grid, settings: ImagineSettings) -> tuple[int, int]:
    """Rows and columns of a box. `ValueError` where nothing would be seen around it."""
    if settings.block is not None and settings.block >= min(grid):
        raise ValueError(
            f"imagine.block={settings.block} does not fit into a grid of {grid[0]} x {grid[1]} "
            f"patches with something to be seen around it: choose at most {min(grid) - 1}"
        )
    return block_sides(grid, settings.block)


def pasted(
    view: UInt8[Tensor, "C H W"], box: Box, content: UInt8[Tensor, "C h w"]
) -> UInt8[Tensor, "C H W"]:
    """The view with another content in its box."""
    top, left, height, width = box
    changed = view.clone()
    changed[:, top : top + height, left : left + width] = content
    return changed


def _hidden(decoder: Decoder, views: Tensor, boxes: Sequence[Box]) -> Int[Tensor, "B L"]:
    """The tokens in each box."""
    encoder, size = decoder.objective.target_encoder, decoder.loaded.size
    check_same_size(decoder, (views.shape[-2], views.shape[-1]))
    if not boxes or len(boxes) != len(views):
        raise ValueError(f"{len(boxes)} boxes for {len(views)} pictures: give one for each")
    if len({tuple(box[2:]) for box in boxes}) > 1:
        raise ValueError("the boxes differ in size: give those of one size at a time")
    grid = encoder.rows_and_columns(*size)
    masks = [patches_in(box, encoder.patch, grid, "box") for box in boxes]
    if masks[0].all():
        raise ValueError("the box is the whole picture: leave something to be seen")
    return torch.from_numpy(np.stack([np.flatnonzero(mask) for mask in masks]))


def _predicted(trio: Trio, view: Tensor, hidden: Tensor) -> Float[Tensor, "1 L D"]:
    return trio.predicted(view, hidden)


def _true(trio: Trio, view: Tensor, hidden: Tensor) -> Float[Tensor, "1 L D"]:
    return trio.truth(view)[:, hidden.to(trio.device)]


_TOLD: Mapping[str, Callable[[Trio, Tensor, Tensor], Tensor]] = {
    "predicted": _predicted,
    "target": _true,
    "untrained": _predicted,
    "nothing": _true,  # which is dropped
}
