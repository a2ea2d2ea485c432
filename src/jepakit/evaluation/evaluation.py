"""The contract of evaluations: from frozen features of two splits to named scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """One row per picture, with its label (-1 = unlabelled).

    A row may hold the averages of several layers; the last layer is then the last `width` numbers.
    `augmented` holds further rows of the same pictures, from randomly cropped views: a tensor per
    copy, each a file on the disk where there are many.
    """

    values: Float[Tensor, "B D"]
    labels: Int[Tensor, " B"]
    width: int | None = None  # of the last layer; None = all of the row
    augmented: tuple[Float[Tensor, "B D"], ...] | None = None

    def last(self) -> Features:
        """The last layer alone."""
        width = self.width
        if width is None:
            return self
        more = self.augmented and tuple(copy[:, -width:] for copy in self.augmented)
        return Features(self.values[:, -width:], self.labels, None, more)

    def rows(self, chosen: Tensor) -> Features:
        """Some of the pictures, by places or by a mask."""
        more = self.augmented and tuple(copy[chosen] for copy in self.augmented)
        return Features(self.values[chosen], self.labels[chosen], self.width, more)


class Evaluation(ABC):
    """Scores features: trained on one split, judged on the other."""

    @abstractmethod
    def score(self, train: Features, test: Features) -> dict[str, float]:
        """Named scores, shares in [0, 1], e.g. `{"knn_20": 0.41}`."""
