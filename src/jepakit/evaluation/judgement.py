"""What evaluations say of each test picture, and the contracts of those that say it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jepakit.evaluation.evaluation import Evaluation, Features


@dataclass(frozen=True)
class Judgement:
    """Marks per test picture, by score name; a score is the mean of its marks.

    For a classification a mark is 1 (right) or 0 (wrong). For a regression it is the picture's
    share of R²: 1 - squared error / variance of the target, so that the mean is R².
    """

    marks: dict[str, Float[Tensor, " B"]]
    predictions: dict[str, Tensor]  # a label (or the targets B T) per test picture
    chosen: dict[str, float] = field(default_factory=dict)  # settings found on the training set
    curves: dict[str, list[float]] = field(default_factory=dict)  # one number per epoch
    confidence: dict[str, Float[Tensor, " B"]] = field(default_factory=dict)  # of a prediction

    def scores(self) -> dict[str, float]:
        """The mean of each score's marks, and what was chosen."""
        return {name: marks.mean().item() for name, marks in self.marks.items()} | self.chosen

    def renamed(self, rename: Callable[[str], str]) -> Judgement:
        """The same judgement with every name changed."""
        return Judgement(
            {rename(name): marks for name, marks in self.marks.items()},
            {rename(name): found for name, found in self.predictions.items()},
            {rename(name): number for name, number in self.chosen.items()},
            {rename(name): curve for name, curve in self.curves.items()},
            {rename(name): share for name, share in self.confidence.items()},
        )

    @staticmethod
    def together(judgements: Iterable[Judgement]) -> Judgement:
        """One judgement that holds everything; the names must differ."""
        marks: dict[str, Tensor] = {}
        predictions: dict[str, Tensor] = {}
        chosen: dict[str, float] = {}
        curves: dict[str, list[float]] = {}
        confidence: dict[str, Tensor] = {}
        for judgement in judgements:
            assert marks.keys().isdisjoint(judgement.marks), "two scores of one name"
            marks |= judgement.marks
            predictions |= judgement.predictions
            chosen |= judgement.chosen
            curves |= judgement.curves
            confidence |= judgement.confidence
        return Judgement(marks, predictions, chosen, curves, confidence)


@dataclass(frozen=True)
class Predictions:
    """The class index of each test picture, by score name."""

    classes: dict[str, Int[Tensor, " B"]]
    chosen: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    confidence: dict[str, Float[Tensor, " B"]] = field(default_factory=dict)


class Classification(Evaluation):
    """An evaluation that predicts each test picture's label, so that each can be looked at."""

    @abstractmethod
    def predict(
        self, train: Features, num_classes: int, values: Float[Tensor, "B D"]
    ) -> Predictions:
        """Predict for `values`; `train` is checked, its labels are 0 .. num_classes - 1."""

    def judge(self, train: Features, test: Features) -> Judgement:
        """Predict and mark every test picture. Labels may be any numbers >= 0.

        Raises `ValueError` for features that are not finite, a missing label, a training set of
        one class, and a test label that no training picture has.
        """
        check_values(train.values, test.values)
        check_labels(train, test)
        labels, classes = train.labels.unique(return_inverse=True)
        predictions = self.predict(replace(train, labels=classes), len(labels), test.values)
        predicted = {name: labels[found] for name, found in predictions.classes.items()}
        marks = {name: (found == test.labels).float() for name, found in predicted.items()}
        return Judgement(
            marks, predicted, predictions.chosen, predictions.curves, predictions.confidence
        )

    def score(self, train: Features, test: Features) -> dict[str, float]:
        """The share of test pictures predicted right, by score name, and what was chosen."""
        return self.judge(train, test).scores()


@dataclass(frozen=True)
class Measurements:
    """One row per picture, with the quantities to be predicted from it (e.g. a position)."""

    values: Float[Tensor, "B D"]
    targets: Float[Tensor, "B T"]


class Regression(ABC):
    """An evaluation that predicts quantities instead of classes."""

    @abstractmethod
    def judge(self, train: Measurements, test: Measurements) -> Judgement:
        """Predict and mark every test picture; raises `ValueError` for numbers not finite."""

    def score(self, train: Measurements, test: Measurements) -> dict[str, float]:
        """R², averaged over the quantities, and what was chosen."""
        return self.judge(train, test).scores()


def check_values(train: Float[Tensor, "A D"], test: Float[Tensor, "B E"]) -> None:
    """Raise `ValueError` unless both matrices have rows, one width and finite numbers only."""
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"training features are {train.shape[1]} wide and test features {test.shape[1]}: "
            "extract both with the same encoder and pooling"
        )
    for split, values in (("training", train), ("test", test)):
        if not len(values):
            raise ValueError(f"the {split} split is empty: give at least one picture")
        num_broken = int((~torch.isfinite(values)).any(dim=1).sum())
        if num_broken:
            raise ValueError(
                f"the features of {num_broken} of {len(values)} {split} pictures are not finite: "
                "the encoder has diverged, evaluate an earlier checkpoint"
            )


def check_labels(train: Features, test: Features) -> None:
    """Raise `ValueError` unless all are labelled, with two classes or more, all of them trained."""
    for split, labels in (("training", train.labels), ("test", test.labels)):
        num_missing = int((labels < 0).sum())
        if num_missing:
            raise ValueError(
                f"{num_missing} of {len(labels)} {split} pictures have no label: "
                "evaluate on labelled pictures only"
            )
    known = train.labels.unique()
    if len(known) < 2:
        raise ValueError(
            f"all training pictures have the label {int(known)}: give pictures of two classes or "
            "more"
        )
    unknown = test.labels[~torch.isin(test.labels, known)].unique().tolist()
    if unknown:
        raise ValueError(
            f"no training picture has the labels {unknown} of the test split: "
            "give training pictures of every class, or leave these out of the test split"
        )
