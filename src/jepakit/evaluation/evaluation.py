"""The contract of evaluations: from frozen features of two splits to named scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """One row per picture, with its label (-1 = unlabelled)."""

    values: Float[Tensor, "B D"]
    labels: Int[Tensor, " B"]


class Evaluation(ABC):
    """Scores features: trained on one split, judged on the other."""

    @abstractmethod
    def score(self, train: Features, test: Features) -> dict[str, float]:
        """Named scores, shares in [0, 1], e.g. `{"knn_20": 0.41}`."""
