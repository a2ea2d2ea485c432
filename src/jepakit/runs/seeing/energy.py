"""How far, at every place of a picture, the prediction is from the truth: a map of surprise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.core import settings as core
from jepakit.core.devices import Precision, autocast
from jepakit.evaluation.features import evaluating
from jepakit.models import Encoder, Predictor
from jepakit.models.positions import Grid

Maps = Float[np.ndarray, "B rows columns"]

_AT_ONCE = 64  # pictures, or blocks of one picture, that go through the networks together

DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "smooth_l1": lambda a, b: F.smooth_l1_loss(a, b, reduction="none").mean(dim=-1),
    "l2": lambda a, b: F.mse_loss(a, b, reduction="none").mean(dim=-1),
    "cosine": lambda a, b: 1 - F.cosine_similarity(a, b, dim=-1),
}


class EnergySettings(core.Settings):
    """How places are hidden, and what is compared."""

    block: int | None = Field(
        None, ge=1, description="patches a side of what is hidden at once; null = a third"
    )
    masks: int = Field(64, ge=1, description="blocks per picture, at most; they overlap")
    distance: Literal["smooth_l1", "l2", "cosine"] = Field(
        "smooth_l1", description="between prediction and truth"
    )
    usual: int = Field(64, ge=0, description="pictures whose energy per place is taken away")


@dataclass(frozen=True)
class Trio:
    """What it takes to predict: both encoders and the predictor, on a device."""

    context_encoder: Encoder
    target_encoder: Encoder
    predictor: Predictor
    normalise: nn.Module
    device: torch.device
    precision: Precision

    @torch.no_grad()
    def energy(self, views: UInt8[Tensor, "B C H W"], settings: EnergySettings) -> Maps:
        """The mean distance at every place, over all blocks that hide it."""
        chunks = [self._energy(chunk, settings) for chunk in views.split(_AT_ONCE)]
        return torch.cat(chunks).cpu().numpy()

    def truth(self, views: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        """Representations of whole pictures, LayerNorm-ed as in training."""
        with self._looking():
            return self._truth(self.normalise(views.to(self.device)))

    def predicted(
        self, views: UInt8[Tensor, "B C H W"], hidden: Int[Tensor, " L"]
    ) -> Float[Tensor, "B L D"]:
        """What the predictor expects at the hidden places; everything else is seen."""
        with self._looking():
            inputs = self.normalise(views.to(self.device))
            return self._predicted(inputs, hidden.expand(len(views), -1))

    @contextmanager
    def _looking(self) -> Iterator[None]:
        networks = nn.ModuleList([self.context_encoder, self.target_encoder, self.predictor])
        with torch.no_grad(), evaluating(networks), autocast(self.device, self.precision):
            yield

    def _energy(self, views: Tensor, settings: EnergySettings) -> Float[Tensor, "B rows columns"]:
        grid = self.target_encoder.rows_and_columns(*views.shape[-2:])
        with self._looking():
            inputs = self.normalise(views.to(self.device))
            truth = self._truth(inputs)
            total = torch.zeros(truth.shape[:2], device=self.device)
            count = torch.zeros(truth.shape[1], device=self.device)
            blocks = list(hidden_blocks(grid, settings.block, settings.masks))
            for some in torch.stack(blocks).split(max(1, _AT_ONCE // len(views))):
                hidden = some.to(self.device)  # K L
                found = self._predicted(
                    inputs.repeat(len(some), 1, 1, 1), hidden.repeat_interleave(len(views), 0)
                ).unflatten(0, (len(some), len(views)))
                for places, predicted in zip(hidden, found, strict=True):
                    distance = DISTANCES[settings.distance](predicted, truth[:, places])
                    total[:, places] += distance
                    count[places] += 1
        return (total / count).unflatten(1, grid)

    def _truth(self, inputs: Tensor) -> Float[Tensor, "B N D"]:
        tokens = self.target_encoder(inputs).float()
        return F.layer_norm(tokens, tokens.shape[-1:])

    def _predicted(self, inputs: Tensor, hidden: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        grid = self.context_encoder.rows_and_columns(*inputs.shape[-2:])
        targets = hidden.to(self.device)
        seen = torch.ones(len(inputs), grid[0] * grid[1], dtype=torch.bool, device=self.device)
        seen.scatter_(1, targets, False)
        context = seen.nonzero()[:, 1].view(len(inputs), -1)  # B K
        visible = self.context_encoder(inputs, context)[:, None]
        return self.predictor(visible, context[:, None], targets[:, None], grid)[:, 0, 0].float()


def hidden_blocks(
    grid: Grid, sides: int | tuple[int, int] | None, most: int
) -> Iterator[Int[Tensor, " L"]]:
    """Blocks that slide over the grid until every place was hidden, `most` of them where possible.

    `sides` are rows and columns of patches, or one number for both; None is a third of the grid.
    """
    height, width = block_sides(grid, sides)
    stride = 1
    while stride < min(height, width) and _num_steps(grid, (height, width), stride) > most:
        stride += 1
    places = torch.arange(grid[0] * grid[1]).view(grid)
    for top in _starts(grid[0], height, stride):
        for left in _starts(grid[1], width, stride):
            yield places[top : top + height, left : left + width].flatten()


def block_sides(grid: Grid, sides: int | tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns of a hidden block, cut where nothing would stay visible."""
    given = sides if isinstance(sides, tuple) else (sides, sides)
    height, width = (
        min(side or max(1, round(length / 3)), length)
        for side, length in zip(given, grid, strict=True)
    )
    if (height, width) == grid:
        return max(1, height - 1), max(1, width - 1)
    return height, width


def _starts(length: int, side: int, stride: int) -> list[int]:
    last = length - side
    return sorted({*range(0, last + 1, stride), last})


def _num_steps(grid: Grid, sides: tuple[int, int], stride: int) -> int:
    return len(_starts(grid[0], sides[0], stride)) * len(_starts(grid[1], sides[1], stride))
