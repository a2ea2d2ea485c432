"""The streams of training and evaluation batches; a training batch depends on (seed, step) only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from jepakit.core.tensors import Batch
from jepakit.data.broken_pictures import BrokenPictures, TooManyBroken
from jepakit.data.micro_batches import DrawMasks, MicroBatches, Place
from jepakit.data.sources.source import BrokenPicture, Source
from jepakit.data.views import CentreView, PlannedView, RandomView, RepeatableView
from jepakit.data.workers import Workers, is_stopping


class TrainingStream:
    """Yields, for every optimizer step from `start_step` to `total_steps`, its micro-batches.

    `batch_size` is global: this process gets the contiguous slice number `rank` of `world_size`,
    cut into `micro_batches` batches. Every epoch is a new order of all pictures; what does not
    fill a batch is left out. Without `total_steps` it never ends. Workers start once, for the
    whole run. A broken picture is replaced by another one and listed in `broken_file`; when they
    are more than `max_broken_share` of all pictures, `ValueError` is raised; `RunFailed`, if the
    source cannot be read any more. Use it in a `with` block, or call `close`.
    """

    def __init__(
        self,
        source: Source,
        view: RandomView | PlannedView,
        masking: DrawMasks,
        *,
        seed: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        micro_batches: int = 1,
        num_workers: int = 0,
        start_step: int = 0,
        total_steps: int | None = None,
        pin_memory: bool = False,
        broken_file: Path | None = None,
        max_broken_share: float = 0.01,
    ) -> None:
        _check_sizes(source.pictures_per_epoch, batch_size, world_size * micro_batches)
        self.steps_per_epoch = source.pictures_per_epoch // batch_size
        self.broken = BrokenPictures(len(source), max_broken_share, broken_file)
        self._micro_batches = micro_batches
        self._micro_size = batch_size // (world_size * micro_batches)
        dataset = MicroBatches(source, view, masking, seed, batch_size, self._micro_size)
        firsts = [
            (rank * micro_batches + number) * self._micro_size for number in range(micro_batches)
        ]
        places = _Places(start_step, total_steps, firsts)
        self.num_workers = num_workers
        self._workers = Workers(dataset, places, num_workers, pin_memory)

    def __iter__(self) -> Iterator[tuple[Batch, ...]]:
        while step := tuple(itertools.islice(self._batches(), self._micro_batches)):
            yield step

    def _batches(self) -> Iterator[Batch]:
        for loaded in self._workers:
            self.broken.add(loaded.broken, self._micro_size)
            if loaded.batch is None:
                raise TooManyBroken(self.broken)
            yield loaded.batch

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    def __enter__(self) -> TrainingStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True)
class _Places:
    """The micro-batches of one process, in the order in which they are needed."""

    start_step: int
    total_steps: int | None
    firsts: list[int]

    def __iter__(self) -> Iterator[Place]:
        for step in itertools.count(self.start_step):
            if self.total_steps is not None and step >= self.total_steps:
                return
            yield from (Place(step, first) for first in self.firsts)


def _check_sizes(num_pictures: int, batch_size: int, num_slices: int) -> None:
    if batch_size < num_slices or batch_size % num_slices:
        wanted = max(1, batch_size // num_slices) * num_slices
        raise ValueError(
            f"batch.size={batch_size} cannot be cut into {num_slices} equal slices (processes x "
            f"accumulation): set batch.size={wanted}"
        )
    if num_pictures < batch_size:
        wanted = num_pictures // num_slices * num_slices
        advice = f"set batch.size={wanted}" if wanted else "add pictures or use fewer processes"
        raise ValueError(f"{num_pictures} pictures do not fill batch.size={batch_size}: {advice}")


EvaluationBatch = tuple[UInt8[Tensor, "B C H W"], Int[Tensor, " B"], Int[Tensor, " B"]]


class EvaluationStream:
    """Yields (views, labels, indices) in the order of `indices`; the last batch may be smaller.

    Broken pictures are left out and kept in `broken`: why, by their names.
    """

    def __init__(
        self,
        source: Source,
        view: CentreView | RepeatableView,
        indices: Sequence[int],
        batch_size: int,
        num_workers: int = 0,
    ) -> None:
        self.broken: dict[str, str] = {}
        self._dataset = _EvaluationBatches(source, view)
        self._num_workers = num_workers
        self._chunks = [
            [int(index) for index in indices[start : start + batch_size]]
            for start in range(0, len(indices), batch_size)
        ]

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[EvaluationBatch]:
        workers = Workers(self._dataset, self._chunks, min(self._num_workers, len(self)))
        try:
            for batch, broken in workers:
                self.broken.update((error.name, error.reason) for error in broken)
                if batch is not None:
                    yield batch
        finally:
            workers.close()


def evaluation_loader(
    source: Source,
    size: tuple[int, int],
    indices: Sequence[int] | None = None,
    batch_size: int = 256,
    num_workers: int = 0,
    view: RepeatableView | None = None,
) -> EvaluationStream:
    """Centre views (or others of that size) of the pictures at `indices` (default: all)."""
    chosen_view = view or CentreView(CentreView.Settings(size=size))
    chosen = range(len(source)) if indices is None else indices
    return EvaluationStream(source, chosen_view, chosen, batch_size, num_workers)


class _EvaluationBatches(Dataset):
    def __init__(self, source: Source, view: CentreView | RepeatableView) -> None:
        self._source = source
        self._view = view

    def __getitem__(
        self, indices: list[int]
    ) -> tuple[EvaluationBatch | None, tuple[BrokenPicture, ...]]:
        broken, views, labels, readable = [], [], [], []
        for index in indices:
            if is_stopping():
                return None, ()
            try:
                views.append(self._view(self._source.open(index), index))
            except BrokenPicture as error:
                broken.append(error)
                continue
            labels.append(self._source.label(index))
            readable.append(index)
        if not views:
            return None, tuple(broken)
        batch = (torch.stack(views), torch.tensor(labels), torch.tensor(readable))
        return batch, tuple(broken)
