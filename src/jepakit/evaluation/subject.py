"""Who is examined: a network with all that it takes to give it pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from jepakit.core.devices import Precision, autocast
from jepakit.data.loader import evaluation_loader
from jepakit.data.sources.source import Source
from jepakit.data.views import RepeatableView
from jepakit.models.backbone import Backbone


@dataclass(frozen=True)
class Subject:
    """A backbone on its device, and how pictures become its input."""

    name: str  # its row in tables
    backbone: Backbone
    normalise: nn.Module  # uint8 views on the device -> float32 input
    size: tuple[int, int]  # of a view, in pixels
    fingerprint: str  # changes with the weights
    device: torch.device
    precision: Precision = "fp32"

    def in_precision(self) -> torch.autocast:
        """A context in which matrix products run in the precision of the training."""
        return autocast(self.device, self.precision)


@dataclass(frozen=True)
class Pictures:
    """Some pictures of a source, each with a label (>= 0) that need not be the source's own."""

    source: Source
    indices: Sequence[int]
    labels: Int[Tensor, " B"]

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the source and with which of its pictures these are."""
        digest = hashlib.sha256(self.source.fingerprint().encode())
        digest.update(np.asarray(self.indices, dtype=np.int64).tobytes())
        return digest.hexdigest()[:24]

    def at(self, chosen: Tensor) -> Pictures:
        """Some of them, by places or by a mask."""
        indices = [int(self.indices[place]) for place in torch.arange(len(self))[chosen].tolist()]
        return Pictures(self.source, indices, self.labels[chosen])

    def views(
        self,
        size: tuple[int, int],
        batch_size: int,
        num_workers: int = 0,
        view: RepeatableView | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(uint8 views B C H W, int64 places in `indices`): centre views unless told otherwise.

        Broken pictures are left out.
        """
        places = {int(index): place for place, index in enumerate(self.indices)}
        stream = evaluation_loader(self.source, size, self.indices, batch_size, num_workers, view)
        for views, _, indices in stream:
            yield views, torch.tensor([places[int(index)] for index in indices])
