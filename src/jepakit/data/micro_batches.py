"""Builds one micro-batch from its step and place alone: pictures, views and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch, MaskIndices
from jepakit.data.sources.source import BrokenPicture, Source
from jepakit.data.views import PlannedView, RandomView
from jepakit.data.workers import is_stopping

DrawMasks = Callable[[int, BatchRandom], MaskIndices]  # a `Masking`
_NUM_REPLACEMENTS = 20


@dataclass(frozen=True)
class Place:
    """A micro-batch's place in a run: the global step and the first global position in it."""

    step: int
    first: int


@dataclass(frozen=True)
class Loaded:
    """What a worker hands back; `batch` is None where too few pictures were readable."""

    batch: Batch | None
    broken: tuple[BrokenPicture, ...]

    def pin_memory(self) -> Loaded:
        """The same in page-locked memory (called by the data loader)."""
        return replace(self, batch=self.batch and self.batch.pin_memory())


class MicroBatches(Dataset):
    """Maps a `Place` to the `micro_size` samples there, of global batches of `batch_size`."""

    def __init__(
        self,
        source: Source,
        view: RandomView | PlannedView,
        masking: DrawMasks,
        seed: int,
        batch_size: int,
        micro_size: int,
    ) -> None:
        self._source = source
        self._view = view
        self._masking = masking
        self._seed = seed
        self._batch_size = batch_size
        self._micro_size = micro_size
        self._order: tuple[int, np.ndarray] | None = None  # epoch and its order

    def __getitem__(self, place: Place) -> Loaded:
        random = BatchRandom(self._seed, place.step, place.first)
        views = self._view.empty(self._micro_size, self._source.num_channels)
        indices = self._indices(place)
        labels = np.empty(self._micro_size, np.int64)
        broken: list[BrokenPicture] = []
        for position in range(self._micro_size):
            if is_stopping():
                return Loaded(None, ())
            found = self._readable(int(indices[position]), random, position, broken)
            if found is None:
                return Loaded(None, tuple(broken))
            indices[position], views[position] = found
            labels[position] = self._source.label(found[0])
        masks = self._masking(self._micro_size, random)
        batch = Batch(views, masks, torch.from_numpy(labels), torch.from_numpy(indices))
        return Loaded(batch, tuple(broken))

    def _indices(self, place: Place) -> np.ndarray:
        epoch, step = divmod(place.step, self._source.pictures_per_epoch // self._batch_size)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self._source.order(self._seed, epoch))
        start = step * self._batch_size + place.first
        return self._order[1][start : start + self._micro_size].astype(np.int64)

    def _readable(
        self, index: int, random: BatchRandom, position: int, broken: list[BrokenPicture]
    ) -> tuple[int, Tensor] | None:
        """A view of the picture, or of the first readable one of a few drawn for this position."""
        for candidate in chain((index,), self._replacements(random, position)):
            try:
                picture = self._source.open(candidate)
                return candidate, self._view(picture, random.sample("view", position))
            except BrokenPicture as error:
                broken.append(error)
        return None

    def _replacements(self, random: BatchRandom, position: int) -> Iterator[int]:
        numbers = random.sample("replacement", position)
        for candidate in numbers.integers(len(self._source), size=_NUM_REPLACEMENTS):
            yield int(candidate)
