"""Random numbers that are a function of (draw, picture), on any device and in one graph.

`torch.randn` depends on what lies in the batch beside a picture; with these, one process or eight
add the same noise to the same picture. Within a step, `draw` must differ between purposes.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

_BITS = 0xFFFFFFFF
# Multipliers below 2**31, so that products of 32 bits stay within int64.
_ROUNDS = ((16, 0x7FEB352D), (15, 0x31848BAB), (16, 0x45D9F3B3))


def uniforms(
    draw: Int[Tensor, ""], indices: Int[Tensor, " B"], width: int
) -> Float[Tensor, "B width"]:
    """Numbers inside (0, 1), `width` for each picture."""
    counters = torch.arange(width, device=indices.device)
    of_picture = _mixed(_mixed(draw & _BITS) ^ (indices & _BITS))
    bits = _mixed(of_picture[:, None] ^ _mixed(counters)[None])
    return ((bits >> 9).float() + 0.5) / 2**23  # with the half, 24 bits: all that float32 holds


def normals(
    draw: Int[Tensor, ""], indices: Int[Tensor, " B"], shape: tuple[int, ...]
) -> Float[Tensor, "B ..."]:
    """Standard normal numbers of a shape for each picture (Box and Muller 1958)."""
    width = math.prod(shape)
    half = -(-width // 2)
    lengths, angles = uniforms(draw, indices, 2 * half).split(half, dim=1)
    lengths, angles = (-2 * lengths.log()).sqrt(), 2 * math.pi * angles
    both = torch.cat([lengths * angles.cos(), lengths * angles.sin()], dim=1)
    return both[:, :width].unflatten(1, shape)


def _mixed(numbers: Tensor) -> Tensor:
    """32 bits in, 32 bits out, each of which depends on all: shift, xor, multiply."""
    for shift, factor in _ROUNDS:
        numbers = numbers ^ (numbers >> shift)
        numbers = (numbers * factor) & _BITS
    return numbers ^ (numbers >> 16)
