"""What fewer bits cost: features of a rounded encoder beside those of the whole one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.core.randomness import generator
from jepakit.data.loader import evaluation_loader
from jepakit.data.sources import Source
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.models import Encoder

_MOST_PICTURES = 1024
_BATCH = 32
_NEIGHBOURS = 20

Pooled = Callable[[Tensor], Tensor]  # normalised pictures -> pooled features B D


@dataclass(frozen=True)
class RoundingLoss:
    """How far rounded features are from whole ones, over some pictures."""

    num_pictures: int
    largest: float  # absolute difference of a pooled feature
    cosine: float  # mean, between the two features of a picture
    knn: tuple[float, float] | None  # accuracies: whole, rounded; None = unlabelled
    agreement: float | None  # share of test pictures for which both say the same class

    def __str__(self) -> str:
        """One line for people."""
        told = (
            f"{self.num_pictures} pictures: pooled features differ by at most {self.largest:.2g}, "
            f"mean cosine {self.cosine:.5f}"
        )
        if self.knn is None:
            return told
        whole, rounded = (100 * accuracy for accuracy in self.knn)
        return (
            f"{told}; k-NN {rounded:.1f} % instead of {whole:.1f} %, "
            f"the same answer for {100 * (self.agreement or 0):.1f} %"
        )


def rounding_loss(
    encoder: Encoder, rounded: Pooled, source: Source, normalise: nn.Module, size: tuple[int, int]
) -> RoundingLoss:
    """Measured on up to 1024 pictures of the source, half of which are the k-NN's memory."""
    chosen = generator(0, "rounding loss").permutation(len(source))[:_MOST_PICTURES].tolist()
    ours, theirs, found = [], [], []
    for views, labels, _ in evaluation_loader(source, size, chosen, _BATCH):
        normalised = normalise(views)
        ours.append(encoder.pooled(normalised))
        theirs.append(rounded(normalised))
        found.append(labels)
    whole, other = torch.cat(ours), torch.cat(theirs)
    knn, agreement = _knn(whole, other, torch.cat(found))
    return RoundingLoss(
        num_pictures=len(whole),
        largest=(whole - other).abs().max().item(),
        cosine=F.cosine_similarity(whole, other).mean().item(),
        knn=knn,
        agreement=agreement,
    )


def _knn(
    whole: Tensor, rounded: Tensor, labels: Tensor
) -> tuple[tuple[float, float] | None, float | None]:
    half = len(labels) // 2
    if half < 1 or labels.min() < 0 or len(labels.unique()) < 2:
        return None, None
    neighbours = NearestNeighbours.Settings(neighbours=(min(_NEIGHBOURS, half),))
    answers = []
    for values in (whole, rounded):
        train = Features(values[:half], labels[:half])
        predictions = NearestNeighbours(neighbours).predict(
            train, int(labels.max()) + 1, values[half:]
        )
        answers.append(next(iter(predictions.classes.values())))
    first, second = ((answer == labels[half:]).float().mean().item() for answer in answers)
    return (first, second), (answers[0] == answers[1]).float().mean().item()
