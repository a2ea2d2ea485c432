"""Linear probes: how much of a label, or of a measured quantity, a linear map can read off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, field_validator
from torch import Tensor

from jepakit.core import settings as core
from jepakit.core.randomness import generator
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.judgement import (
    Classification,
    Judgement,
    Measurements,
    Predictions,
    Regression,
    check_values,
)
from jepakit.evaluation.logistic_regression import LogisticProblem, with_ones


class SweepSettings(core.Settings):
    """L2 strengths to try, and the part of the training set on which the best is chosen."""

    l2: tuple[float, ...] = Field(
        (1.0, 0.1, 0.01, 0.001, 0.0001), description="weight penalties, per mean loss"
    )
    held_out: float = Field(0.2, ge=0.01, le=0.5, description="share of the training set")
    seed: int = Field(0, ge=0, description="which part is held out")

    @field_validator("l2")
    @classmethod
    def _strongest_first(cls, l2: tuple[float, ...]) -> tuple[float, ...]:
        """Strong to weak: each solution is a good start for the next, and wins a tie."""
        if not l2 or min(l2) <= 0:
            raise ValueError("give at least one l2, each above 0")
        return tuple(sorted(l2, reverse=True))


class LinearProbe(Classification):
    """Multinomial logistic regression on standardised features; L2 chosen on held-out pictures.

    The test set takes no part in any choice. After the choice the probe is fitted again to the
    whole training set (METHOD: frozen linear probe, paper section 4).
    """

    class Settings(SweepSettings):
        """The sweep of the classifier."""

        kind: Literal["linear"] = "linear"

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()

    def predict(
        self, train: Features, num_classes: int, values: Float[Tensor, "B D"]
    ) -> Predictions:
        """Scored as `linear`; the L2 that was chosen as `linear_l2`."""
        train = Features(_ready(train.values), train.labels.to(_ready(train.values).device))
        l2, start = self._choose(*self._split(train), num_classes)
        scaling = Scaling.of(train.values)
        problem = LogisticProblem.of(scaling(train.values), train.labels, num_classes)
        weights = problem.solve(l2, start)
        found = classify(weights, scaling(_ready(values))).to(values.device)
        return Predictions({"linear": found}, {"linear_l2": l2})

    def _split(self, train: Features) -> tuple[Features, Features]:
        """The training pictures to fit, and those to choose by."""
        held = held_out(train.labels, self.settings.held_out, self.settings.seed)
        if not held.any():
            raise ValueError(
                f"{len(train.labels)} training pictures of {len(train.labels.unique())} classes "
                "are too few to hold some out: give more pictures of each class"
            )
        return (
            Features(train.values[~held], train.labels[~held]),
            Features(train.values[held], train.labels[held]),
        )

    def _choose(self, seen: Features, held: Features, num_classes: int) -> tuple[float, Tensor]:
        """The L2 that predicts most held-out pictures right, and its weights."""
        scaling = Scaling.of(seen.values)
        problem = LogisticProblem.of(scaling(seen.values), seen.labels, num_classes)
        judged = scaling(held.values)
        weights, trials = problem.start(), []
        for l2 in self.settings.l2:
            weights = problem.solve(l2, weights)
            right = (classify(weights, judged) == held.labels).float().mean().item()
            trials.append((right, l2, weights))
        _, best, start = max(trials, key=lambda trial: trial[:2])
        return best, start


class RidgeProbe(Regression):
    """Linear regression on standardised features, L2 swept as in `LinearProbe`; scored by R²."""

    class Settings(SweepSettings):
        """The sweep of the regression."""

        kind: Literal["ridge"] = "ridge"

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()

    def judge(self, train: Measurements, test: Measurements) -> Judgement:
        """R² of the test pictures, averaged over the T targets, as `r2`; the L2 as `ridge_l2`.

        Raises `ValueError` for numbers that are not finite and for a target that is constant.
        """
        check_values(train.values, test.values)
        check_values(train.targets, test.targets)
        rows = torch.zeros(len(train.values), dtype=torch.long, device=train.values.device)
        held = held_out(rows, self.settings.held_out, self.settings.seed)
        if not held.any():
            raise ValueError(f"{len(rows)} training pictures are too few: give at least two dozen")
        seen = Measurements(train.values[~held], train.targets[~held])
        errors = [
            (train.targets[held] - predicted).square().mean().item()
            for predicted in self._predict(seen, train.values[held], self.settings.l2)
        ]
        l2 = self.settings.l2[errors.index(min(errors))]
        (predicted,) = self._predict(train, test.values, (l2,))
        return Judgement(
            {"r2": _shares(predicted, test.targets)}, {"r2": predicted}, {"ridge_l2": l2}
        )

    @staticmethod
    def _predict(train: Measurements, values: Tensor, strengths: tuple[float, ...]) -> list[Tensor]:
        """Predictions for `values` at each strength, from one eigendecomposition."""
        scaling = Scaling.of(_ready(train.values))
        design = scaling(_ready(train.values))
        targets = train.targets.to(design.device)
        centre = targets.double().mean(dim=0)
        moments = (design.T @ design / len(design)).double()
        eigenvalues, basis = torch.linalg.eigh(moments)
        cross = basis.T @ (design.T.double() @ (targets.double() - centre) / len(design))
        inputs = scaling(_ready(values)).double()
        found = []
        for l2 in strengths:
            weights = basis @ (cross / (eigenvalues.clamp_min(0) + l2)[:, None])
            predicted = inputs @ weights + centre
            found.append(predicted.to(train.targets))
        return found


@dataclass(frozen=True)
class Scaling:
    """Makes each feature of the training set have mean 0 and deviation 1 (0 if constant)."""

    mean: Float[Tensor, " D"]
    deviation: Float[Tensor, " D"]

    @classmethod
    def of(cls, values: Float[Tensor, "B D"]) -> Scaling:
        """The scaling of a training set."""
        variance, mean = torch.var_mean(values, dim=0, correction=0)
        deviation = variance.sqrt()
        # A constant feature's deviation is rounding; dividing by it would make noise of it.
        constant = deviation <= 1e-6 * mean.abs()
        return cls(mean, torch.where(constant, torch.inf, deviation))

    def __call__(self, values: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The scaled features."""
        return (values - self.mean) / self.deviation


def held_out(labels: Int[Tensor, " B"], share: float, seed: int) -> Bool[Tensor, " B"]:
    """A random part, about `share` of every class; the first drawn of each class is never in it."""
    drawn = torch.from_numpy(generator(seed, "held-out").permutation(len(labels)))
    order = drawn.to(labels.device)
    order = order[labels[order].argsort(stable=True)]  # by class, random within
    repeated = order[1:][labels[order][1:] == labels[order][:-1]]
    held = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    held[repeated[:: round(1 / share)]] = True
    return held


def classify(weights: Float[Tensor, "E K"], values: Float[Tensor, "B D"]) -> Int[Tensor, " B"]:
    """The class of the largest score; the intercepts are the last row of `weights`."""
    return (with_ones(values) @ weights.to(values.dtype)).argmax(dim=1)


def _shares(predicted: Tensor, targets: Tensor) -> Tensor:
    """Each picture's 1 - squared error / variance, averaged over the targets."""
    variance = targets.var(dim=0, correction=0)
    if (variance == 0).any():
        raise ValueError("a target is the same in all test pictures: R² has no meaning for it")
    return 1 - ((targets - predicted).square() / variance).mean(dim=1)


def _ready(values: Tensor) -> Tensor:
    """Float32, moved off a device that has no float64."""
    return values.cpu().float() if values.device.type == "mps" else values.float()
