"""The measured peak of a device: what nothing that multiplies matrices can exceed."""

from __future__ import annotations

import time
from statistics import median

import torch

from jepakit.core.devices import Precision, synchronise

_SIDE_ON_CUDA = 8192  # smaller products do not fill a GPU


def matrix_peak(
    device: torch.device, precision: Precision, side: int, num_repeats: int = 5
) -> float:
    """FLOP/s of products of square matrices in that precision, here and now: a median.

    `side` is that of the matrices, except on CUDA.
    """
    side = _SIDE_ON_CUDA if device.type == "cuda" else side
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    random = torch.Generator(device).manual_seed(0)  # not the global one: training draws from it
    a, b = (torch.randn(side, side, device=device, generator=random).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    torch.mm(a, b, out=out)
    seconds = []
    for _ in range(num_repeats):
        synchronise(device)
        begin = time.perf_counter()
        torch.mm(a, b, out=out)
        synchronise(device)
        seconds.append(time.perf_counter() - begin)
    return 2 * side**3 / median(seconds)
