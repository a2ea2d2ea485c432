"""The pictures of an evaluation's training, step by step, as a function of (seed, epoch, place)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from jepakit.core.randomness import generator
from jepakit.data.sources.source import BrokenPicture
from jepakit.data.workers import Workers, is_stopping
from jepakit.evaluation.augmentation import TrainingView
from jepakit.evaluation.subject import Pictures, Subject


@dataclass(frozen=True)
class Order:
    """Which pictures each step sees: every epoch all of them, shuffled, in nearly equal batches."""

    num_pictures: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """The fewest batches of at most `batch_size` that hold all pictures."""
        return math.ceil(self.num_pictures / self.batch_size)

    def places(self, step: int) -> np.ndarray:
        """The places (int64) of the pictures in the batch of a step, counted from 0."""
        epoch, number = divmod(step, self.steps_per_epoch)
        shuffled = _shuffled(self.num_pictures, self.seed, epoch)
        return np.array_split(shuffled, self.steps_per_epoch)[number]


@lru_cache(maxsize=2)
def _shuffled(num: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, "evaluation-order", epoch).permutation(num)


Stream = Generator[tuple[Tensor, Tensor], None, None]


class Batches(ABC):
    """What is learned from at every step."""

    order: Order

    @abstractmethod
    def stream(self, first_step: int, num_steps: int) -> Stream:
        """(inputs, labels) on the device for every step from `first_step` to `num_steps`.

        Broken pictures are left out; both are empty where nothing could be read.
        """


@dataclass
class ViewBatches(Batches):
    """Views of pictures, normalised on the device."""

    subject: Subject
    pictures: Pictures
    view: TrainingView
    order: Order
    num_workers: int = 0

    def stream(self, first_step: int, num_steps: int) -> Stream:
        """Inputs B C H W and labels B."""
        steps, device = range(first_step, num_steps), self.subject.device
        dataset = _Views(self.pictures, self.view, self.order)
        workers = Workers(dataset, steps, self.num_workers, device.type == "cuda")
        try:
            for views, places in workers:
                inputs = self.subject.normalise(views.to(device, non_blocking=True))
                yield inputs, self.pictures.labels[places].to(device)
        finally:
            workers.close()


class _Views(Dataset):
    """Maps a step to views of its pictures that can be read, and their places."""

    def __init__(self, pictures: Pictures, view: TrainingView, order: Order) -> None:
        self._pictures, self._view, self._order = pictures, view, order

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        epoch = step // self._order.steps_per_epoch
        views, readable = [], []
        for place in self._order.places(step).tolist():
            if is_stopping():
                break
            random = generator(self._order.seed, "evaluation-view", epoch, place)
            try:
                picture = self._pictures.source.open(int(self._pictures.indices[place]))
                views.append(self._view(picture, random))
            except BrokenPicture:
                continue
            readable.append(place)
        places = torch.tensor(readable, dtype=torch.int64)
        if not views:
            shape = (0, self._pictures.source.num_channels, *self._view.size)
            return torch.empty(shape, dtype=torch.uint8), places
        return torch.stack(views), places
