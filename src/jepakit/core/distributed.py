"""Which process of how many this is, and sums that gradients pass through."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from jepakit.core.errors import RunFailed


@dataclass(frozen=True)
class Place:
    """This process's place in the run, as torchrun's environment variables describe it."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    @staticmethod
    def from_environment() -> Place:
        """RANK, WORLD_SIZE and LOCAL_RANK; without them a run of one."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        present = [name for name in names if name in os.environ]
        if not present:
            return Place()
        if len(present) < len(names):
            raise ValueError(f"set all of {', '.join(names)} or none: found only {present}")
        return Place(*(int(os.environ[name]) for name in names))


def leave() -> None:
    """Leave the process group, if one was joined."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world_size() -> int:
    """Number of processes in this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, in rank order; gradients flow back to every process.

    Every process then computes the same global loss, and DDP's mean over processes gives exactly
    the gradient of that loss.
    """
    if world_size() == 1:
        return rows
    return _GatherRows.apply(rows)


class _GatherRows(torch.autograd.Function):
    """All-gather with a gradient; torch's own ways to do it change from version to version."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        gathered = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(gathered, rows)
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(world_size())[dist.get_rank()]


def rank() -> int:
    """This process's number in the run."""
    return dist.get_rank() if dist.is_initialized() else 0


def who() -> str:
    """This process in words: its number and its machine."""
    return f"process {rank()} on {socket.gethostname()}"


def gather_objects(value: Any) -> list[Any]:
    """What every process gives, by rank. They all must ask at the same place."""
    if world_size() == 1:
        return [value]
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def from_first(value: Any) -> Any:
    """What the first process gives. They all must ask at the same place."""
    if world_size() == 1:
        return value
    given = [value]
    dist.broadcast_object_list(given, src=0)
    return given[0]


def any_of_all(mine: bool) -> bool:
    """Whether it is so on any process. They all must ask at the same place."""
    if world_size() == 1:
        return mine
    answer = torch.tensor(float(mine))
    dist.all_reduce(answer, op=dist.ReduceOp.MAX)
    return bool(answer)


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error says that another process of the run ended, or cannot be reached."""
    if isinstance(error, (RunFailed, ValueError, OSError)):
        return False  # of pictures, whose server may use the same words
    words = str(error)
    return isinstance(error, dist.DistError) or any(
        sign in words for sign in ("gloo", "Connection closed by peer", "Connection reset by peer")
    )


def check_alike(facts: dict[str, Any]) -> None:
    """Refuse to train when processes do not agree; `RunFailed` on each of them says in what."""
    told = gather_objects((who(), facts))
    first_name, first = told[0]
    differences = [
        f"{name}: {first.get(name)} for {first_name}, {theirs.get(name)} for {other}"
        for other, theirs in told[1:]
        for name in sorted(first.keys() | theirs.keys())
        if first.get(name) != theirs.get(name)
    ]
    if differences:
        shown = differences[:6] + (["…"] if len(differences) > 6 else [])
        raise RunFailed(
            f"the processes of this run do not agree ({'; '.join(shown)}): start all of them with "
            "the same command, the same code and the same folders, then it continues"
        )


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes (no gradient); itself in a run of one."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()
