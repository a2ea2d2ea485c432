"""One process or many: how the objective is wrapped, and when gradients are exchanged."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from jepakit.core.distributed import world_size

# Positions are the same everywhere from the start; newer torch names the argument anew.
_PARAMETERS = inspect.signature(DistributedDataParallel.__init__).parameters
_BUFFERS_STAY: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _PARAMETERS else "broadcast_buffers": False
}


def parallelise(objective: nn.Module, device: torch.device) -> nn.Module:
    """The module whose `forward` exchanges gradients between processes; itself in a run of one.

    Only parameters that train are exchanged: a frozen target network follows by itself, alike on
    every process.
    """
    if world_size() == 1:
        return objective
    return DistributedDataParallel(
        objective,
        device_ids=[device] if device.type == "cuda" else None,
        **_BUFFERS_STAY,
        gradient_as_bucket_view=True,
    )


def exchange_gradients(module: nn.Module, now: bool) -> AbstractContextManager[None]:
    """Within it, backward exchanges gradients only if `now`: the last micro-batch of a step."""
    if now or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return module.no_sync()
