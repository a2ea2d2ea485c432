"""The contract of monitors: they look at a training and never change it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jepakit.core.devices import Precision, autocast
from jepakit.core.tensors import Batch
from jepakit.objectives.objective import Objective, StepOutput


@dataclass(frozen=True)
class ProbePictures:
    """A fixed small set of pictures, centre views as uint8 B C H W, looked at again and again.

    `normalise` turns them into what the networks take (float32, on the device of its input).
    Labels are -1 (and `num_classes` 0) for unlabelled sources.
    """

    train_views: Tensor
    train_labels: Tensor
    test_views: Tensor
    test_labels: Tensor
    num_classes: int
    normalise: nn.Module
    views_to_mask: Tensor | None = None  # of the training's size, where the others are not

    def first_to_mask(self, number: int) -> Tensor:
        """The first pictures at the size that the masks are for."""
        if self.views_to_mask is not None:
            return self.views_to_mask[:number]
        return torch.cat([self.train_views, self.test_views])[:number]


@dataclass(frozen=True)
class Snapshot:
    """What a monitor may see after an optimizer step."""

    step: int  # optimizer steps done
    progress: float  # share of the schedule done
    objective: Objective  # unwrapped
    batch: Batch  # this process's last micro-batch, normalised, on the device
    output: StepOutput  # of that micro-batch
    gradient_norm: Tensor
    images_per_second: float  # over all processes, since the last log line
    data_wait: float  # share of the time spent waiting for pictures, since the last log line
    device: str
    precision: Precision = "fp32"

    def in_precision(self) -> torch.autocast:
        """A context in which networks compute as in training; statistics belong outside."""
        return autocast(torch.device(self.device), self.precision)


class Monitor(ABC):
    """Looks at a snapshot every so many steps and returns numbers; may say in words what is wrong.

    `observe` runs under `torch.no_grad` with the objective in eval mode, on the first process only;
    on all of them where networks are spread over processes, and there all must compute alike.
    """

    every: int

    @abstractmethod
    def observe(self, snapshot: Snapshot) -> dict[str, float]:
        """Named numbers, e.g. `{"collapse/rankme": 41.2}`."""

    def warnings(self, numbers: Mapping[str, float]) -> list[str]:
        """Plain sentences about what the numbers just observed show; empty = healthy."""
        return []
