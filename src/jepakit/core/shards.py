"""Tensors spread over processes (FSDP2's DTensor), and the plain ones that they stand for."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(tensor: object) -> bool:
    """Whether a tensor lies on several processes, a part on each."""
    return isinstance(tensor, DTensor)


def local_part(tensor: Tensor) -> Tensor:
    """The part on this process, sharing its memory; a plain tensor is its own part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of it. Every process must ask at the same place; a plain tensor is returned as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread_like(tensor: Tensor, model: Tensor) -> Tensor:
    """A whole tensor, equal on all processes, in the form of `model`; nothing is sent."""
    if not isinstance(model, DTensor):
        return tensor
    mesh = model.device_mesh
    return distribute_tensor(
        tensor.to(model.to_local().device), mesh, model.placements, src_data_rank=None
    )


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The L2 norm of all tensors together, over all processes."""
    return whole(torch.nn.utils.get_total_norm(tensors))
