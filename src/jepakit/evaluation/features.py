"""From pictures to rows of numbers: averages of a frozen network's tokens, or plain pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from jepakit.models.backbone import Backbone

PIXEL_SIDE = 16
Pool = Literal["mean", "max", "none"]


@dataclass(frozen=True)
class Reading:
    """Which layers of a backbone are read, and what becomes of their tokens.

    `layers` are counted from 0, or from -1 backwards, as Python does; the very last one is normed.
    `mean` is how the paper evaluates; `none` keeps every token.
    """

    layers: tuple[int, ...] = (-1,)
    pool: str = "mean"  # one of `Pool`

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("no layers are asked for: give at least one, e.g. layers=(-1,)")
        if self.pool not in get_args(Pool):
            raise ValueError(f"pool={self.pool!r} is not one of {', '.join(get_args(Pool))}")

    def shape(self, backbone: Backbone, size: tuple[int, int]) -> tuple[int, ...]:
        """Of what is read of one picture of `size`: D, or rows, columns and D."""
        width = len(self.layers) * backbone.width
        return (*backbone.rows_and_columns(*size), width) if self.pool == "none" else (width,)

    def check(self, depth: int) -> None:
        """`ValueError` if the backbone has no such layers."""
        for layer in self.layers:
            if not -depth <= layer < depth:
                raise ValueError(
                    f"there is no layer {layer}: this encoder has {depth}, counted from 0 to "
                    f"{depth - 1}, or from -1 back to {-depth}"
                )

    def __call__(
        self, backbone: Backbone, inputs: Float[Tensor, "B C H W"]
    ) -> Float[Tensor, "B D"] | Float[Tensor, "B N D"]:
        """What is read of the inputs, in float32; the layers side by side, in their order."""
        self.check(backbone.depth)
        from_the_end = [layer % backbone.depth - backbone.depth for layer in self.layers]
        found = backbone.last_layers(inputs, -min(from_the_end))
        tokens = torch.cat([found[layer].float() for layer in from_the_end], dim=-1)
        if self.pool == "none":
            return tokens
        return tokens.mean(dim=1) if self.pool == "mean" else tokens.amax(dim=1)


def pixel_rows(views: UInt8[Tensor, "B C H W"], side: int = PIXEL_SIDE) -> Float[Tensor, "B D"]:
    """The baseline without an encoder: pictures averaged down to `side` x `side`, flattened.

    A side that is already smaller stays as it is. Values lie in [-1, 1] with grey at 0, so that
    the cosine between two pictures is not all brightness: on scenes this is worth 4 points to k-NN,
    while 32 x 32 instead of 16 x 16 is worth nothing to either probe.
    """
    sides = [min(length, side) for length in views.shape[-2:]]
    small = F.interpolate(views.float(), size=sides, mode="area")
    return (small / 127.5 - 1).flatten(1)


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Everything inside is in eval mode; each part's own mode comes back afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
