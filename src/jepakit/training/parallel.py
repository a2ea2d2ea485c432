"""One process or many: networks are copied (DDP) or spread (FSDP2), and gradients exchanged."""

from __future__ import annotations

import inspect
import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.nn.parallel import DistributedDataParallel

from jepakit.core.devices import Precision, all_memory
from jepakit.core.distributed import world_size
from jepakit.models.transformer import Block
from jepakit.objectives.objective import Objective

log = logging.getLogger(__name__)

Mode = Literal["ddp", "fsdp"]

# Positions are the same everywhere from the start; newer torch names the argument anew.
_PARAMETERS = inspect.signature(DistributedDataParallel.__init__).parameters
_BUFFERS_STAY: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _PARAMETERS else "broadcast_buffers": False
}
# Above this share of a device's memory, copies of the state leave too little for activations.
SHARE_FOR_COPIES = 0.35
_MOST_GRAPHS = 64  # of one block; where torch needs more, it goes on without compiling
GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """How the networks lie on the processes, and why."""

    mode: Mode
    reason: str
    cpu_offload: bool = False


def choose_plan(
    asked: Literal["auto", "ddp", "fsdp"],
    cpu_offload: bool,
    num_processes: int,
    state_bytes: int,
    device: torch.device,
) -> Plan:
    """`asked`, or by size: copies on every process as long as they leave room for activations.

    `state_bytes` is what parameters, gradients, moments and target network take on each process
    when they are copied. Processes on CPUs share the memory of their machine. A process that has
    joined no group keeps everything.
    """
    if cpu_offload and asked == "ddp":
        raise ValueError("cpu_offload=true spreads the networks over processes: set parallel=fsdp")
    if not dist.is_initialized():
        return Plan("ddp", "one process")
    if asked != "auto":
        return Plan(asked, "as asked", cpu_offload)
    if cpu_offload:
        return Plan("fsdp", "cpu_offload=true", cpu_offload)
    if num_processes == 1:
        return Plan("ddp", "one process")
    memory = all_memory(device) / (1 if device.type == "cuda" else num_processes)
    needed = (
        f"weights, gradients and optimizer take {state_bytes / GIB:.2g} of the {memory / GIB:.1f} "
        "GiB that each process has"
    )
    if state_bytes > SHARE_FOR_COPIES * memory:
        return Plan("fsdp", f"{needed}, more than {SHARE_FOR_COPIES:.0%}: they are spread")
    return Plan("ddp", f"{needed}: each keeps a copy, which is faster")


def shard(objective: nn.Module, plan: Plan, device: torch.device, precision: Precision) -> None:
    """Spread every network's parameters over all processes (FSDP2), in place; no-op for DDP.

    Every process must hold the same values before. Afterwards parameters are DTensors; blocks are
    gathered one at a time, in the run's precision, and let go after use: the target encoder's too,
    which has no backward pass to wait for, so that its moving average meets shards only.
    """
    if plan.mode != "fsdp":
        return
    options: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (world_size(),)),
        "reshard_after_forward": True,
        "mp_policy": MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if precision == "bf16" else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,  # autocast decides, as in a run of one process
        ),
        "offload_policy": CPUOffloadPolicy(pin_memory=device.type == "cuda")
        if plan.cpu_offload
        else OffloadPolicy(),
    }
    for network in objective.children():
        for part in network.modules():
            if isinstance(part, Block):
                fully_shard(part, **options)
        fully_shard(network, **options)
    fully_shard(objective, **options)


def compile_objective(objective: Objective) -> None:
    """torch.compile, block by block: all blocks of a network share one graph per kind of use.

    The whole step as one graph takes minutes, and on a GPU failed as soon as masks changed shape
    (docs/decisions/0015-compile-by-block.md).
    """
    # Training, targets, monitors; fixed and varying numbers of tokens: more than torch's usual 8.
    torch._dynamo.config.recompile_limit = _MOST_GRAPHS
    for part in objective.compiled_parts():
        part.compile()


def parallelise(objective: nn.Module, device: torch.device) -> nn.Module:
    """The module whose `forward` exchanges gradients between processes; itself in a run of one.

    Only parameters that train are exchanged: a frozen target network follows by itself, alike on
    every process. What is spread already exchanges by itself.
    """
    if world_size() == 1 or isinstance(objective, FSDPModule):
        return objective
    return DistributedDataParallel(
        objective,
        device_ids=[device] if device.type == "cuda" else None,
        **_BUFFERS_STAY,
        gradient_as_bucket_view=True,
    )


def exchange_gradients(module: nn.Module, now: bool) -> AbstractContextManager[None]:
    """Within it, backward exchanges gradients only if `now`: the last micro-batch of a step.

    Spread networks exchange after every micro-batch: gradients that wait would be whole ones, and
    take the memory that spreading saved.
    """
    if now or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return module.no_sync()
