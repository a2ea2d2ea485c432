"""Watches what the features know about labels, with a k-NN and a linear probe on few pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from jepakit.core import settings as core
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.training.monitors.features import FeatureCache
from jepakit.training.monitors.monitor import Monitor, Snapshot

STRENGTHS = tuple(10.0**power for power in range(-4, 4))


def ridge_weights(
    kernel: Float[Tensor, "R R"], wanted: Float[Tensor, "R Y"]
) -> tuple[Float[Tensor, "R Y"], float]:
    """Weights alpha of the training pictures, (kernel + strength I) alpha = wanted; the strength.

    The strength is the one with the smallest leave-one-out error, known in closed form: picture
    i's residual without picture i is alpha_i / G_ii for G = (kernel + strength I)^-1.
    """
    eigenvalues, basis = torch.linalg.eigh(kernel)
    rotated = basis.T @ wanted
    trials = []
    for strength in STRENGTHS:
        inverse = 1 / (eigenvalues.clamp_min(0) + strength)
        alpha = basis @ (inverse[:, None] * rotated)
        error = (alpha / (basis.square() @ inverse)[:, None]).square().mean().item()
        trials.append((error, strength, alpha))
    _, strength, alpha = min(trials, key=lambda trial: trial[0])
    return alpha, strength


def linear_classes(
    train: Float[Tensor, "R D"], one_hot: Int[Tensor, "R Y"], test: Float[Tensor, "S D"]
) -> Int[Tensor, " S"]:
    """The class that ridge regression onto one-hot labels ranks first, on standardised features."""
    mean, deviation = train.double().mean(dim=0), train.double().std(dim=0).clamp_min(1e-6)
    train, test = (train.double() - mean) / deviation, (test.double() - mean) / deviation
    shares = one_hot.double().mean(dim=0)
    width = train.shape[1]
    alpha, _ = ridge_weights(train @ train.T / width, one_hot - shares)
    return (test @ train.T @ alpha / width + shares).argmax(dim=1)


class OnlineProbe(Monitor):
    """Accuracies of the kept encoder's pooled features on the labelled probe pictures.

    Trained on the probe's train part, judged on its test part; silent where there are no labels.
    A cheap sign of progress to compare within one run, no substitute for an evaluation.
    """

    class Settings(core.Settings):
        """When to look, and how many neighbours vote."""

        every: int = Field(250, ge=0, description="steps between two looks; 0 = off")
        num_neighbours: int = Field(20, ge=1, description="k of the k-NN")
        temperature: float = Field(0.07, gt=0, description="of the votes' weights")

    def __init__(self, settings: Settings, features: FeatureCache) -> None:
        self.settings = settings
        self.every = settings.every
        self.features = features
        probe = features.probe
        self._train = probe.train_labels.cpu() >= 0
        self._test = probe.test_labels.cpu() >= 0
        self._labelled = (
            probe.num_classes > 1 and bool(self._train.any()) and bool(self._test.any())
        )
        self._best: dict[str, float] = {}
        self._before: dict[str, float] = {}

    def observe(self, snapshot: Snapshot) -> dict[str, float]:
        """`probe/knn` and `probe/linear`, shares of the test pictures classified rightly."""
        if not self._labelled:
            return {}
        probe, found = self.features.probe, self.features.at(snapshot)
        train = Features(found.train[self._train], probe.train_labels.cpu()[self._train])
        test = Features(found.test[self._test], probe.test_labels.cpu()[self._test])
        predicted = {
            "probe/knn": self._neighbours(train, test.values),
            "probe/linear": linear_classes(
                train.values, F.one_hot(train.labels, probe.num_classes), test.values
            ),
        }
        numbers = {
            name: (classes == test.labels).double().mean().item()
            for name, classes in predicted.items()
        }
        self._before = dict(self._best)
        for name, share in numbers.items():
            self._best[name] = max(share, self._best.get(name, 0.0))
        return numbers

    def _neighbours(self, train: Features, values: Tensor) -> Tensor:
        """The k-NN's class of each row; all training pictures vote where they are fewer than k."""
        k = min(self.settings.num_neighbours, len(train.values))
        settings = NearestNeighbours.Settings(
            neighbours=(k,), temperature=self.settings.temperature
        )
        with torch.autocast("cpu", enabled=False):  # cosines of nearly equal features
            found = NearestNeighbours(settings).predict(
                train, self.features.probe.num_classes, values
            )
        return found.classes[f"knn_{k}"]

    def warnings(self, numbers: Mapping[str, float]) -> list[str]:
        """Speaks when an accuracy fell further below its best so far than chance explains."""
        num_pictures = max(1, int(self._test.sum()))
        sentences = []
        for name, words in (("probe/knn", "k-NN"), ("probe/linear", "linear-probe")):
            now, best = numbers.get(name), self._before.get(name)
            if now is None or best is None:
                continue
            if has_fallen(best, now, num_pictures):
                sentences.append(
                    f"The {words} accuracy on the probe pictures fell from {100 * best:.0f} % to "
                    f"{100 * now:.0f} %. What usually helps: an earlier checkpoint, a lower "
                    "optimization.lr, a regulariser (objective.regulariser)."
                )
        return sentences


def has_fallen(best: float, now: float, num_pictures: int) -> bool:
    """Whether an accuracy is further below its best than chance explains: four deviations."""
    return best - now > max(0.05, 4 * math.sqrt(best * (1 - best) / num_pictures))
