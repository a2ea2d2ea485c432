"""From pictures to rows of numbers: averages of a frozen network's tokens, or plain pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

PIXEL_SIDE = 16


def pooled_layers(layers: Sequence[Tensor]) -> Float[Tensor, "B D"]:
    """The concatenated averages of the tokens of layers (each B N D), float32, in their order."""
    return torch.cat([tokens.float().mean(dim=1) for tokens in layers], dim=1)


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
