"""Maps and energy over the checkpoints of a run, as an animation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from jepakit.core.checkpoint import CheckpointFolder
from jepakit.runs.seeing.energy import Maps
from jepakit.runs.seeing.looking import Looking, NotDrawn, Shown
from jepakit.runs.seeing.surprise import energy_strips
from jepakit.runs.weights import load_weights
from jepakit.visualization import Film, token_colours
from jepakit.visualization.tiles import Tile, resize, side_by_side, stacked, to_colour

_TILE, _BAR = 160, 30  # pixels
_BAR_COLOUR, _BAR_INK = (28, 32, 48), (236, 238, 246)


def show_film(looking: Looking) -> Shown:
    """A frame per checkpoint: originals, token colours, energy. `NotDrawn` without several."""
    settings = looking.settings.film
    steps = chosen_steps(looking)
    pictures = looking.pictures[: settings.pictures]
    colours, energies = [], []
    for _, path in steps:
        then = replace(looking, loaded=load_weights(str(path), looking.device))
        encoder, finer = then.loaded.encoder, looking.finer()
        tokens = then.tokens(encoder, -1, looking.pictures, finer)
        grid = (looking.grid[0] * finer, looking.grid[1] * finer)
        colours.append(
            token_colours(tokens - tokens.mean(dim=1, keepdim=True), grid)[: settings.pictures]
        )
        energies.append(then.trio().energy(pictures, looking.settings.energy))
    frames = [
        _frame(to_colour(pictures), colour, energy, f"step {step:,}")
        for (step, _), colour, energy in zip(steps, steady(colours), energies, strict=True)
    ]
    film = Film(
        tuple(frames),
        f"{len(frames)} checkpoints: original, token colours, energy",
        seconds=settings.seconds,
        caption=f"{len(frames)} checkpoints, from step {steps[0][0]:,} to {steps[-1][0]:,}: "
        "original, token colours (turned so that they stay alike), and energy (each frame in its "
        "own scale).",
        heading="How it came",
    )
    return Shown([film], {"film": film})


def chosen_steps(looking: Looking) -> list[tuple[int, Path]]:
    """Steps and folders of the run's checkpoints, thinned evenly; the first and last stay."""
    trained = looking.loaded.trained
    if trained is None:
        raise NotDrawn(f"{looking.loaded.name} is no run folder, so it has no film: give a run")
    folder = CheckpointFolder(trained.folder.checkpoints, trained.config.checkpoint)
    steps = folder.steps()
    if len(steps) < 2:
        raise NotDrawn(
            f"{looking.loaded.name} holds {len(steps)} checkpoint, and a film needs several: train "
            "with checkpoint.every_steps=100 checkpoint.keep_last=50"
        )
    most = min(looking.settings.film.frames, len(steps))
    kept = sorted({round(n * (len(steps) - 1) / (most - 1)) for n in range(most)})
    return [(steps[n], folder.at(steps[n])) for n in kept]


def steady(
    colours: Sequence[Float[Tensor, "B rows columns 3"]],
) -> list[Float[Tensor, "B rows columns 3"]]:
    """Each frame's colours turned towards those of the frame after it (orthogonal Procrustes).

    Principal components come in any order and sign: without this, colours jump between frames.
    """
    turned = [colours[-1]]
    for colour in reversed(colours[:-1]):
        wanted, found = (c.reshape(-1, 3).double() - 0.5 for c in (turned[-1], colour))
        left, _, right = torch.linalg.svd(found.T @ wanted)
        moved = (found @ (left @ right) + 0.5).clamp(0, 1)
        turned.append(moved.view(colour.shape).float())
    return turned[::-1]


def _frame(originals: np.ndarray, colours: Tensor, energy: Maps, words: str) -> Tile:
    strips = energy_strips(originals, [energy], _TILE)
    pixels = (255 * colours).round().byte().numpy()
    rows = []
    for strip, colour in zip(strips, pixels, strict=True):
        height, width = strip.shape[0], (strip.shape[1] - 4) // 2
        original, heat = strip[:, :width], strip[:, -width:]
        rows.append(side_by_side([original, resize(colour, (height, width), smooth=False), heat]))
    sheet = stacked(rows)
    bar = Image.new("RGB", (sheet.shape[1], _BAR), _BAR_COLOUR)
    pen = ImageDraw.Draw(bar)
    pen.text((10, 7), words, fill=_BAR_INK, font=ImageFont.load_default(size=15))
    return np.concatenate([np.asarray(bar), sheet])
