"""Low-shot: how well a linear map does that has seen a handful of labelled pictures per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from jepakit.core import settings as core
from jepakit.core.randomness import generator
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.fitting import USUAL_STRENGTHS, FittedProbe, Scaling, Strengths, ready
from jepakit.evaluation.judgement import Classification, Judgement, Predictions
from jepakit.evaluation.logistic_regression import LogisticProblem, with_ones


class LowShot(Classification):
    """Logistic regression on frozen last-layer features of a few labelled pictures per class.

    The test set takes no part in any choice: the L2 is chosen by cross-validation inside the few
    pictures. Where a class has only one there is nothing to choose by, and the smallest L2 is
    taken, which comes nearest to the largest margin (METHOD section 4, low-shot).
    """

    class Settings(core.Settings):
        """How many pictures, how often drawn, and the sweep of the classifier."""

        kind: Literal["low_shot"] = "low_shot"
        per_class: int | None = Field(None, ge=1, description="pictures of every class")
        share: float | None = Field(0.01, gt=0, le=1, description="of every class, at least one")
        seeds: int = Field(5, ge=1, description="how many random draws of the pictures")
        l2: Strengths = USUAL_STRENGTHS
        folds: int = Field(5, ge=2, description="parts of the pictures, to choose the L2 by")

        @model_validator(mode="before")
        @classmethod
        def _per_class_instead_of_the_default(cls, given: Any) -> Any:
            if isinstance(given, dict) and given.get("per_class") is not None:
                return {"share": None, **given}
            return given

        @model_validator(mode="after")
        def _one_of_two(self) -> LowShot.Settings:
            if (self.per_class is None) == (self.share is None):
                raise ValueError("give either per_class or share, not both and not neither")
            return self

    def __init__(
        self,
        settings: Settings | None = None,
        subsets: Sequence[Int[Tensor, " S"]] | None = None,
    ) -> None:
        """`subsets`: places in the training features, one subset per seed, instead of draws."""
        self.settings = settings or self.Settings()
        self.subsets = subsets

    @property
    def name(self) -> str:
        """Of the score, e.g. `low_shot_1pct` or, with pictures per class, `low_shot_5`."""
        share = self.settings.share
        return f"low_shot_{self.settings.per_class if share is None else f'{100 * share:g}pct'}"

    def judge(self, train: Features, test: Features) -> Judgement:
        """A mark is the share of seeds that were right; the prediction, what most seeds said.

        `.../deviation` is that of the accuracy over the seeds (0 for one seed).
        """
        judgement = super().judge(train, test)
        marks = torch.stack(list(judgement.marks.values()))
        votes = torch.stack(list(judgement.predictions.values()))
        accuracies = marks.double().mean(dim=1)
        deviation = accuracies.std().item() if len(accuracies) > 1 else 0.0
        return Judgement(
            {self.name: marks.mean(dim=0)},
            {self.name: votes.mode(dim=0).values},
            {f"{self.name}/deviation": deviation} | judgement.chosen,
        )

    def predict(
        self, train: Features, num_classes: int, values: Float[Tensor, "B D"]
    ) -> Predictions:
        """One prediction per seed; the L2 of each, and the mean number of pictures per class."""
        rows = ready(train.last().values)
        labels = train.labels.to(rows.device)
        subsets = self._subsets(labels, num_classes)
        classes, chosen = {}, {}
        for seed, places in enumerate(subsets):
            part = Features(rows[places], labels[places])
            fitted = self.fit(part, num_classes, seed)
            classes[f"{self.name}/seed={seed}"] = fitted.scores(values).argmax(1).to(values.device)
            chosen[f"{self.name}/l2/seed={seed}"] = fitted.l2
        size = sum(len(places) for places in subsets) / len(subsets)
        chosen[f"{self.name}/pictures_per_class"] = size / num_classes
        return Predictions(classes, chosen)

    def _subsets(self, labels: Tensor, num_classes: int) -> list[Tensor]:
        if self.subsets is None:
            return [self.draw(labels, num_classes, seed) for seed in range(self.settings.seeds)]
        if not self.subsets:
            raise ValueError("the list of subsets is empty: give at least one")
        return [
            self._checked(places.to(labels.device), labels, num_classes) for places in self.subsets
        ]

    @staticmethod
    def _checked(places: Tensor, labels: Tensor, num_classes: int) -> Tensor:
        if not len(places) or places.min() < 0 or places.max() >= len(labels):
            raise ValueError(
                f"a subset names pictures that are not among the {len(labels)} training pictures: "
                "give the list that belongs to this training split"
            )
        missing = num_classes - len(labels[places].unique())
        if missing:
            raise ValueError(
                f"a subset has no picture of {missing} of the {num_classes} classes: "
                "give a list with at least one picture of each"
            )
        return places

    def draw(self, labels: Tensor, num_classes: int, seed: int) -> Tensor:
        """Places of random pictures, so many of every class."""
        places, rank = _ranks(labels, generator(seed, "low-shot"))
        counts = torch.bincount(labels, minlength=num_classes)
        per_class, share = self.settings.per_class, self.settings.share
        if share is not None:
            wanted = (counts * share).round().clamp_min(1)
        else:
            wanted = torch.full_like(counts, per_class or 0)
            if (counts < wanted).any():
                raise ValueError(
                    f"a class has only {int(counts.min())} training pictures: "
                    f"choose per_class of at most {int(counts.min())}"
                )
        return places[rank < wanted[labels[places]]].sort().values

    def fit(self, part: Features, num_classes: int, seed: int) -> FittedProbe:
        """The classifier of a few pictures' features, its L2 chosen among them."""
        l2 = self._choose(part, num_classes, seed)
        scaling = Scaling.of(part.values)
        problem = LogisticProblem.of(scaling(part.values), part.labels, num_classes)
        return FittedProbe(part.values.shape[1], scaling, problem.solve(l2), l2)

    def _choose(self, part: Features, num_classes: int, seed: int) -> float:
        """The L2 that is right most often about pictures left out; the strongest wins a tie."""
        strengths = self.settings.l2
        folds = min(self.settings.folds, int(torch.bincount(part.labels).min()))
        if folds < 2 or len(strengths) == 1:
            return strengths[-1]
        places, rank = _ranks(part.labels, generator(seed, "low-shot-folds"))
        fold = torch.empty_like(rank)
        fold[places] = rank % folds
        right = [0] * len(strengths)
        for left_out in range(folds):
            seen, held = part.rows(fold != left_out), part.rows(fold == left_out)
            scaling = Scaling.of(seen.values)
            problem = LogisticProblem.of(scaling(seen.values), seen.labels, num_classes)
            judged = with_ones(scaling(held.values)).double()
            for trial, weights in enumerate(problem.solve_all(strengths)):
                right[trial] += int(((judged @ weights).argmax(dim=1) == held.labels).sum())
        return strengths[right.index(max(right))]


def _ranks(labels: Tensor, random: Any) -> tuple[Tensor, Tensor]:
    """Places by class in random order, and each one's rank within its class."""
    order = torch.from_numpy(random.permutation(len(labels))).to(labels.device)
    order = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    first = counts.cumsum(0) - counts
    return order, torch.arange(len(order), device=labels.device) - first[labels[order]]
