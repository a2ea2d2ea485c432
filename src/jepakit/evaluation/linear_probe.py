"""Linear probes: how much of a label, or of a measured quantity, a linear map can read off."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from jepakit.core import settings as core
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.fitting import (
    USUAL_STRENGTHS,
    FittedProbe,
    Scaling,
    Strengths,
    classify,
    held_out,
    ready,
    to_choose_by,
)
from jepakit.evaluation.judgement import (
    Classification,
    Judgement,
    Measurements,
    Predictions,
    Regression,
    check_values,
)
from jepakit.evaluation.logistic_regression import LogisticProblem

# To choose a penalty the loss within 5e-5 of its minimum is enough (no held-out accuracy moves by
# more than noise); scikit-learn's own rule stops 1e-4 away at the weakest penalty.
_NEAR_ENOUGH = 1e-2


class SweepSettings(core.Settings):
    """L2 strengths to try, and the part of the training set on which the best is chosen."""

    l2: Strengths = USUAL_STRENGTHS
    held_out: float = Field(0.2, ge=0.01, le=0.5, description="share of the training set")
    seed: int = Field(0, ge=0, description="which part is held out")


class LinearProbe(Classification):
    """Multinomial logistic regression on standardised features; L2 chosen on held-out pictures.

    The test set takes no part in any choice. After the choice the probe is fitted again to the
    whole training set (METHOD: frozen linear probe, paper section 4).
    """

    class Settings(SweepSettings):
        """The sweep of the classifier, and the layers that it looks at."""

        kind: Literal["linear"] = "linear"
        pooling: Literal["last", "last_four", "best"] = Field(
            "last", description="layers in a row; best = whichever predicts held-out pictures best"
        )

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()

    def predict(
        self, train: Features, num_classes: int, values: Float[Tensor, "B D"]
    ) -> Predictions:
        """Scored as `linear`; the L2 that was chosen as `linear_l2`.

        With pooling `best`, `linear_layers` is how many layers were chosen.
        """
        fitted = self.fit(train, num_classes)
        shares = fitted.scores(values).softmax(dim=1).to(values.device)
        confidence, found = shares.max(dim=1)
        chosen = {"linear_l2": fitted.l2}
        if self.settings.pooling == "best":
            chosen["linear_layers"] = fitted.width / train.last().values.shape[1]
        return Predictions({"linear": found}, chosen, confidence={"linear": confidence.float()})

    def fit(self, train: Features, num_classes: int) -> FittedProbe:
        """Choose layers and L2 on held-out pictures, then fit to all of them."""
        values = ready(train.values)
        train = Features(values, train.labels.to(values.device), train.width)
        held = to_choose_by(train.labels, self.settings.held_out, self.settings.seed)
        trials = []
        for part in self._parts(train):
            trial = self._choose(part.rows(~held), part.rows(held), num_classes)
            trials.append((*trial, part))
        # The first wins a tie.
        _, l2, start, problem, part = max(trials, key=lambda trial: trial[0])
        scaling = Scaling.of(part.values)
        problem = problem.moved_to(scaling(part.values), part.labels)
        return FittedProbe(part.values.shape[1], scaling, problem.solve(l2, start), l2)

    def _parts(self, train: Features) -> list[Features]:
        """The layers to try, the fewest first."""
        last, all_layers = train.last(), Features(train.values, train.labels)
        if train.width is None:
            return [last]
        return {"last": [last], "last_four": [all_layers], "best": [last, all_layers]}[
            self.settings.pooling
        ]

    def _choose(
        self, seen: Features, held: Features, num_classes: int
    ) -> tuple[float, float, Tensor, LogisticProblem]:
        """The share of held-out pictures right at the best L2, that L2, weights and problem."""
        scaling = Scaling.of(seen.values)
        problem = LogisticProblem.of(scaling(seen.values), seen.labels, num_classes)
        judged = scaling(held.values)
        found = problem.solve_all(self.settings.l2, tolerance=_NEAR_ENOUGH)
        rights = [
            (classify(weights, judged) == held.labels).float().mean().item() for weights in found
        ]
        best = rights.index(max(rights))  # the strongest wins a tie
        return rights[best], self.settings.l2[best], found[best], problem


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
        scaling = Scaling.of(ready(train.values))
        design = scaling(ready(train.values))
        targets = train.targets.to(design.device)
        centre = targets.double().mean(dim=0)
        moments = (design.T @ design / len(design)).double()
        eigenvalues, basis = torch.linalg.eigh(moments)
        cross = basis.T @ (design.T.double() @ (targets.double() - centre) / len(design))
        inputs = scaling(ready(values)).double()
        found = []
        for l2 in strengths:
            weights = basis @ (cross / (eigenvalues.clamp_min(0) + l2)[:, None])
            predicted = inputs @ weights + centre
            found.append(predicted.to(train.targets))
        return found


def _shares(predicted: Tensor, targets: Tensor) -> Tensor:
    """Each picture's 1 - squared error / variance, averaged over the targets."""
    variance = targets.var(dim=0, correction=0)
    if (variance == 0).any():
        raise ValueError("a target is the same in all test pictures: R² has no meaning for it")
    return 1 - ((targets - predicted).square() / variance).mean(dim=1)
