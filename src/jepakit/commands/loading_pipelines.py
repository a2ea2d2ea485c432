"""Ways to load pictures that `jepa bench data` measures in turns: ours and torchvision's usual."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import MaskIndices
from jepakit.data.loader import TrainingStream
from jepakit.data.micro_batches import MicroBatches, Place
from jepakit.data.sources import BrokenPicture, Source
from jepakit.data.sources.source import Picture, Sample, Stored
from jepakit.data.views import RandomView

_FOR_EVER = 1 << 40  # pictures


class Some(Source):
    """A part of a source: those pictures that can be read."""

    def __init__(self, source: Source, candidates: Iterable[int]) -> None:
        self._source = source
        self._indices = [index for index in candidates if _can_be_read(source, index)]
        if not self._indices:
            raise ValueError("none of the pictures looked at can be read: check the source")
        self.num_channels, self.classes = source.num_channels, source.classes

    def __len__(self) -> int:
        return len(self._indices)

    def sample(self, index: int) -> Sample:
        return self._source.sample(self._indices[index])

    def open(self, index: int) -> Picture:
        return self._source.open(self._indices[index])

    def stored(self, index: int) -> Stored | None:
        return self._source.stored(self._indices[index])

    def name(self, index: int) -> str:
        return self._source.name(self._indices[index])

    def label(self, index: int) -> int:
        return self._source.label(self._indices[index])

    def fingerprint(self) -> str:
        return f"{self._source.fingerprint()} {self._indices}"


def _can_be_read(source: Source, index: int) -> bool:
    try:
        source.open(index).pixels()
    except BrokenPicture:
        return False
    return True


def write_files(source: Source, folder: Path) -> bool:
    """The pictures' files as a folder for torchvision; False if they are not kept as files."""
    (folder / "class").mkdir(parents=True)
    for index in range(len(source)):
        stored = source.stored(index)
        if stored is None or f"{stored.suffix}" == ".npy":
            return False
        (folder / "class" / f"{index:06}{stored.suffix}").write_bytes(stored.content)
    return True


def usual_loader(
    folder: Path, view: RandomView.Settings, batch_size: int, num_workers: int
) -> DataLoader[Any]:
    """What people write first: ImageFolder, PIL, RandomResizedCrop, ToTensor."""
    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(view.size, scale=view.scale),
            transforms.ToTensor(),
        ]
    )
    dataset = ImageFolder(str(folder), change)
    sampler = RandomSampler(dataset, replacement=True, num_samples=_FOR_EVER)
    return DataLoader(dataset, batch_size, sampler=sampler, num_workers=num_workers)


@contextmanager
def our_stream(
    source: Source, view: RandomView.Settings, batch_size: int, num_workers: int
) -> Iterator[TrainingStream]:
    """The stream of a training, without masks."""
    with TrainingStream(
        source,
        RandomView(view),
        no_masks,
        seed=0,
        batch_size=min(batch_size, len(source)),
        num_workers=num_workers,
        total_steps=_FOR_EVER,
    ) as stream:
        yield stream


@contextmanager
def thread_stream(
    source: Source, view: RandomView.Settings, batch_size: int, num_threads: int
) -> Iterator[Iterator[Any]]:
    """The same batches from threads of this process."""
    size = min(batch_size, len(source))
    batches = MicroBatches(source, RandomView(view), no_masks, 0, size, size)
    with ThreadPoolExecutor(num_threads) as threads:
        yield _ahead(threads, batches, 2 * num_threads)


def _ahead(threads: ThreadPoolExecutor, batches: MicroBatches, num_ahead: int) -> Iterator[Any]:
    waiting = [threads.submit(batches.__getitem__, Place(step, 0)) for step in range(num_ahead)]
    for step in itertools.count(num_ahead):
        yield waiting.pop(0).result()
        waiting.append(threads.submit(batches.__getitem__, Place(step, 0)))


def no_masks(batch_size: int, random: BatchRandom) -> MaskIndices:
    """Stands in for a `Masking` where pictures alone are of interest."""
    nothing = torch.zeros((batch_size, 1, 0), dtype=torch.int64)
    return MaskIndices(nothing, nothing)


def mean_size(source: Source, indices: Sequence[int]) -> tuple[float, float]:
    """(bytes of a file, pixels of a picture), averaged."""
    stored = [source.stored(index) for index in indices]
    num_bytes = [len(s.content) if s else 0 for s in stored]
    num_pixels = [s[0] * s[1] for s in (source.open(index).size for index in indices)]
    return sum(num_bytes) / len(indices), sum(num_pixels) / len(indices)
