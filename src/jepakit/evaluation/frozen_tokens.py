"""The patch tokens of a frozen backbone: computed batch by batch, or once and kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from jepakit.evaluation.picture_batches import Batches, Order, Stream
from jepakit.evaluation.subject import Pictures, Subject

_GIGABYTE = 2**30


@torch.no_grad()
def frozen_tokens(subject: Subject, inputs: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
    """The last layer's tokens, in the subject's precision."""
    with subject.in_precision():
        (tokens,) = subject.backbone.last_layers(inputs, 1)
    return tokens.to(_kind(subject))


def gigabytes(subject: Subject, num_pictures: int) -> float:
    """What the tokens of so many pictures take up."""
    inputs = torch.zeros(1, subject.backbone.num_channels, *subject.size, device=subject.device)
    tokens = frozen_tokens(subject, inputs)
    return num_pictures * tokens.nbytes / _GIGABYTE


@dataclass
class CentreTokens:
    """(tokens B N D on the device, their pictures' places), computed at every iteration."""

    subject: Subject
    pictures: Pictures
    batch_size: int
    num_workers: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        stream = self.pictures.views(self.subject.size, self.batch_size, self.num_workers)
        for views, places in stream:
            inputs = self.subject.normalise(views.to(self.subject.device, non_blocking=True))
            yield frozen_tokens(self.subject, inputs), places


class KeptTokens(Batches):
    """The tokens of all pictures, computed here and now, as batches in the order of a training."""

    def __init__(self, tokens: CentreTokens, order: Order) -> None:
        self.order = order
        self._labels = tokens.pictures.labels.to(tokens.subject.device)
        self._row_of = torch.full((order.num_pictures,), -1)  # -1 = cannot be read
        self._rows: Tensor | None = None
        num_rows = 0
        for batch, places in tokens:
            if self._rows is None:
                self._rows = batch.new_empty(order.num_pictures, *batch.shape[1:])
            self._rows[num_rows : num_rows + len(batch)] = batch
            self._row_of[places] = torch.arange(num_rows, num_rows + len(batch))
            num_rows += len(batch)
        if self._rows is None:
            raise ValueError("no training picture can be read: check the data")

    def stream(self, first_step: int, num_steps: int) -> Stream:
        """Tokens B N D and labels B."""
        assert self._rows is not None
        for step in range(first_step, num_steps):
            places = torch.from_numpy(self.order.places(step))
            places = places[self._row_of[places] >= 0]
            rows = self._row_of[places].to(self._rows.device)
            yield self._rows[rows], self._labels[places.to(self._rows.device)]


def _kind(subject: Subject) -> torch.dtype:
    return torch.bfloat16 if subject.precision == "bf16" else torch.float32
