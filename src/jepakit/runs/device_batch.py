"""Finding how many pictures a device holds at once."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from jepakit.core.devices import free_memory

log = logging.getLogger(__name__)

WHERE_NONE_FITS = (
    "choose a smaller encoder.size or data.view.size, or set encoder.checkpointing=true "
    "predictor.checkpointing=true"
)
# What the estimate may use of the free memory; the rest is for fragments and what it left out.
SHARE_OF_FREE_MEMORY = {"cuda": 0.9, "cpu": 0.5, "mps": 0.5}


def those_that_fit(per_process: int, fits: Callable[[int], bool]) -> list[int]:
    """The divisors of a process's share of the batch that fit, the largest first."""
    return [n for n in range(per_process, 0, -1) if per_process % n == 0 and fits(n)]


def largest_that_fits(
    per_process: int,
    bytes_per_picture: float | int,
    device: torch.device,
    trial: Callable[[int], None],
) -> int:
    """The largest divisor of a process's share of the batch that fits on the device.

    The estimate of memory chooses where to begin; on CUDA `trial(n)`, one forward and backward of
    n pictures, then has the last word.
    """
    limit = SHARE_OF_FREE_MEMORY[device.type] * free_memory(device)
    candidates = those_that_fit(per_process, lambda n: n * bytes_per_picture <= limit) or [1]
    if device.type != "cuda":
        return candidates[0]
    for candidate in candidates:
        try:
            trial(candidate)
            return candidate
        except torch.OutOfMemoryError:
            log.info("%d pictures do not fit on %s", candidate, device)
            torch.cuda.empty_cache()
    raise ValueError(f"not even one picture fits on {device}: {WHERE_NONE_FITS}")
