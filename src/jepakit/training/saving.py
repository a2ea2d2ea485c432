"""How checkpoints get written: by the first process, or by all that share the networks."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from jepakit.core.checkpoint import CheckpointFolder, seal
from jepakit.core.distributed import rank, world_size
from jepakit.core.files import flush_to_disk, sha256
from jepakit.core.sharded_checkpoint import copy_and_write, make_stager, shards_of
from jepakit.core.state import State


class NotSaved(OSError):
    """The checkpoint of `step` could not be written; those before it are whole."""

    def __init__(self, step: int, reason: object) -> None:
        super().__init__(str(reason))
        self.step = step


class Saver(ABC):
    """Puts states into a checkpoint folder. All processes call it at the same steps."""

    @abstractmethod
    def save(self, state: State, for_good: bool, wait: bool) -> list[NotSaved]:
        """Save a state, and return what failed since last asked; `wait` until it is on the disk."""

    @abstractmethod
    def close(self) -> None:
        """Finish what is under way."""


class WholeSaver(Saver):
    """The first process writes whole tensors, and the run waits for it."""

    def __init__(self, folder: CheckpointFolder, is_first: bool) -> None:
        self.folder, self.is_first = folder, is_first

    def save(self, state: State, for_good: bool, wait: bool) -> list[NotSaved]:
        """Write, on the first process."""
        if not self.is_first:
            return []
        try:
            self.folder.save(state, for_good)
        except OSError as error:
            return [NotSaved(state.step, error)]
        return []

    def close(self) -> None:
        """Nothing is under way."""


class ShardedSaver(Saver):
    """Every process copies its part to the host; a thread writes it while the training goes on.

    The threads have a process group of their own, so that what they send never meets what the
    training sends. The checkpoint appears, under its name, when all parts are on the disk.
    """

    def __init__(self, folder: CheckpointFolder, device: torch.device, timeout: timedelta) -> None:
        self.folder = folder
        group = dist.new_group(backend="gloo", timeout=timeout)
        assert isinstance(group, dist.ProcessGroup)  # this process is in it
        self.group = group
        self.stager = make_stager(device)
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.under_way: tuple[int, Future[str]] | None = None

    def save(self, state: State, for_good: bool, wait: bool) -> list[NotSaved]:
        """Copy now, write in the background; an earlier one is waited for first."""
        failures = self._finish()
        if state.step == self.folder.newest:
            return failures
        beside, reason = self._begin(state.step)
        if reason:
            return [*failures, NotSaved(state.step, reason)]
        writing = copy_and_write(state.tensors, beside, self.group, self.stager)
        facts = {**state.facts, "for_good": for_good}
        done = self.thread.submit(self._complete, writing, beside, facts)
        self.under_way = (state.step, done)
        return failures + self._finish() if wait else failures

    def close(self) -> None:
        """Wait for what is under way."""
        self._finish()
        self.thread.shutdown()
        self.stager.close()

    def _finish(self) -> list[NotSaved]:
        if self.under_way is None:
            return []
        (step, done), self.under_way = self.under_way, None
        try:
            reason = done.result()
        except RuntimeError as error:  # another process ended meanwhile
            reason = str(error)
        return [NotSaved(step, reason)] if reason else []

    def _begin(self, step: int) -> tuple[Path, str]:
        """A new folder, made by the first process; and what went wrong."""
        made: list[Any] = [None, ""]
        if rank() == 0:
            try:
                made[0] = str(self.folder.make_beside(step))
            except OSError as error:
                made[1] = str(error)
        dist.broadcast_object_list(made, src=0, group=self.group)
        return Path(made[0] or "."), made[1]

    def _complete(self, writing: Future[Any], beside: Path, facts: dict[str, Any]) -> str:
        """Check, seal and name what all processes wrote; what went wrong, the same for all."""
        mine = self._checksums(writing, beside)
        all_parts: list[Any] = [None] * world_size()
        dist.all_gather_object(all_parts, mine, group=self.group)
        outcome = [next((part for part in all_parts if isinstance(part, str)), "")]
        if rank() == 0:
            checksums = {
                name: s for part in all_parts if isinstance(part, dict) for name, s in part.items()
            }
            try:
                if not outcome[0]:
                    seal(beside, checksums, facts)
                    self.folder.put_in_place(beside, facts["step"])
            except OSError as error:
                outcome = [str(error)]
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        dist.broadcast_object_list(outcome, src=0, group=self.group)
        if not outcome[0]:
            self.folder.newest = facts["step"]
        return outcome[0]

    @staticmethod
    def _checksums(writing: Future[Any], beside: Path) -> dict[str, str] | str:
        """Of this process's files, on the disk; or why there are none."""
        try:
            writing.result()
            for path in (mine := shards_of(beside, rank())):
                flush_to_disk(path)
            return {path.name: sha256(path) for path in mine}
        except CheckpointException as error:
            failures = {f"process {r}: {why[0]}" for r, why in error.failures.items()}
            return "; ".join(sorted(failures)) or str(error)
        except OSError as error:
            return f"process {rank()}: {error}"
