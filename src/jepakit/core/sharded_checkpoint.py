"""Checkpoints of networks spread over processes: each writes its own part, as safetensors.

The files are those of torch.distributed.checkpoint's Hugging Face storage: tensors and a JSON
header with their places. Nothing in them is pickled, and any number of processes can read them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from jepakit.core.shards import is_sharded

PATTERN = "shard-*.safetensors"


def shards_of(folder: Path, rank: int | None = None) -> list[Path]:
    """The files that hold tensors, by name; those that one process wrote."""
    pattern = PATTERN if rank is None else f"shard-{rank + 1:05d}-*.safetensors"
    return sorted(folder.glob(pattern))


def copy_and_write(
    tensors: Mapping[str, Tensor], folder: Path, group: dist.ProcessGroup, stager: DefaultStager
) -> Future[Any]:
    """Copy this process's parts to the host now, and write them to `folder` in a thread.

    All processes of `group` call it together; until the future is done nothing else may be sent
    through that group.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    future = dcp.async_save(
        dict(tensors), storage_writer=writer, process_group=group, async_stager=stager
    )
    assert isinstance(future, Future)
    return future


def make_stager(device: torch.device) -> DefaultStager:
    """How tensors are copied to the host: through page-locked memory, kept for the next time."""
    pinned = device.type == "cuda"
    return DefaultStager(
        StagingOptions(
            use_pinned_memory=pinned,
            use_shared_memory=False,
            use_async_staging=False,
            use_non_blocking_copy=pinned,
        )
    )


class ShardedTensors(Mapping[str, Tensor]):
    """The tensors of a sharded checkpoint by name: whole and on the CPU, read when asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
        self._stored: dict[str, Any] = dict(stored)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor, without reading it."""
        return {name: tuple(found.size) for name, found in self._stored.items()}

    def read(self, models: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of these names in the form of their models: of spread ones the own part."""
        targets = {
            name: torch.empty_like(model) if is_sharded(model) else self._empty(name)
            for name, model in models.items()
        }
        with warnings.catch_warnings():
            # Every process reads for itself: that is meant.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            reader = HuggingFaceStorageReader(str(self._folder))
            dcp.load(dict(targets), storage_reader=reader, no_dist=True)
        return targets

    def _empty(self, name: str) -> Tensor:
        stored = self._stored[name]
        return torch.empty(stored.size, dtype=stored.properties.dtype)

    def __getitem__(self, name: str) -> Tensor:
        return self.read({name: self._empty(name)})[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)
