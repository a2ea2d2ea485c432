"""A run of one is not wrapped; in a wrapped one only the last micro-batch exchanges gradients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from jepakit.training import parallel
from jepakit.training.parallel import exchange_gradients, parallelise

CPU = torch.device("cpu")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone; enough for wrapping."""
    dist.init_process_group("gloo", f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_run_of_one_is_not_wrapped() -> None:
    objective = nn.Linear(2, 1)
    assert parallelise(objective, CPU) is objective
    with exchange_gradients(objective, now=False):
        objective(torch.ones(1, 2)).backward()
    assert objective.weight.grad is not None


@pytest.mark.usefixtures("group")
def test_many_are_wrapped_and_exchange_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    objective = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1).requires_grad_(False))
    module = parallelise(objective, CPU)
    assert isinstance(module, DistributedDataParallel)
    assert module.module is objective
    with exchange_gradients(module, now=False):
        assert not module.require_backward_grad_sync
    with exchange_gradients(module, now=True):
        assert module.require_backward_grad_sync
