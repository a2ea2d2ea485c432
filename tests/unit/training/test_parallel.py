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
from jepakit.training.parallel import Plan, choose_plan, exchange_gradients, parallelise

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


@pytest.mark.usefixtures("group")
def test_networks_are_spread_when_copies_leave_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "all_memory", lambda device: 80 * 2**30)
    cuda = torch.device("cuda")
    huge, giant = 13 * 2**30, 37 * 2**30  # the state of a ViT-H and of a ViT-G
    assert choose_plan("auto", False, 8, huge, cuda).mode == "ddp"
    assert choose_plan("auto", False, 8, giant, cuda).mode == "fsdp"
    assert choose_plan("auto", False, 8, huge, CPU).mode == "fsdp"  # eight share one memory
    assert choose_plan("auto", False, 1, giant, cuda).mode == "ddp"
    assert "37 of the 80.0 GiB" in choose_plan("auto", False, 8, giant, cuda).reason


@pytest.mark.usefixtures("group")
def test_what_was_asked_for_is_done() -> None:
    assert choose_plan("ddp", False, 8, 2**50, CPU).mode == "ddp"
    assert choose_plan("fsdp", False, 1, 1, CPU) == Plan("fsdp", "as asked", False)
    assert choose_plan("auto", True, 2, 1, CPU) == Plan("fsdp", "cpu_offload=true", True)
    with pytest.raises(ValueError, match="set parallel=fsdp"):
        choose_plan("ddp", True, 2, 1, CPU)


def test_without_a_group_nothing_is_spread() -> None:
    assert choose_plan("fsdp", True, 1, 2**50, CPU).mode == "ddp"
