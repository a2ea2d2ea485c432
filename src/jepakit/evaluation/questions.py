"""What is asked about pictures: their class, or each of the questions a source has answers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from jepakit.data.sources.source import Source

# The questions behind the one number of the demo: names of the procedural scenes' labels.
DEMO_QUESTIONS = ("count", "nearest_distance_class", "nearest_shape", "nearest_colour")
CLASS_OF_PICTURE = ""


@dataclass(frozen=True)
class Question:
    """A question with the right answers for the pictures of both splits.

    Answers are places in `classes`, or numbers if it asks for a quantity.
    """

    name: str  # empty: the class of the picture
    kind: Literal["class", "quantity"]
    classes: tuple[str, ...]
    train: Shaped[Tensor, " A"]
    test: Shaped[Tensor, " B"]


Indices = Sequence[int]


def ask(
    train: tuple[Source, Indices], test: tuple[Source, Indices], names: Sequence[str] | None = None
) -> list[Question]:
    """The questions of a source, all or the named ones; its class if it has no others.

    Raises `ValueError` for a name that the source does not know, and for pictures without labels.
    """
    source = train[0]
    answers = [_answers(*split) for split in (train, test)]
    known = list(answers[0]) or [CLASS_OF_PICTURE]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        told = ", ".join(name for name in known if name) or "only the class of a picture"
        raise ValueError(f"these pictures do not answer {', '.join(unknown)}; known: {told}")
    if not answers[0]:
        return [_class_question(train, test)]
    return [
        Question(
            name,
            "quantity" if answers[0][name].is_floating_point() else "class",
            tuple(source.tasks.get(name, ())),
            answers[0][name],
            answers[1][name],
        )
        for name in names or known
    ]


def _class_question(train: tuple[Source, Indices], test: tuple[Source, Indices]) -> Question:
    classes = train[0].classes
    if not classes:
        raise ValueError(
            f"the {len(train[0])} pictures have no labels: put them into one folder per class, "
            "two or more, name a labelled folder or a CSV file with --data, or, from Python, give "
            "labels="
        )
    if test[0].classes != classes:
        missing = sorted(set(classes) ^ set(test[0].classes))
        raise ValueError(
            "the test pictures have other classes than the training pictures; only one of the two "
            f"has {', '.join(missing[:5])}: give both the same subfolders"
        )
    labels = [
        torch.tensor([source.label(int(index)) for index in indices])
        for source, indices in (train, test)
    ]
    return Question(CLASS_OF_PICTURE, "class", classes, labels[0], labels[1])


def _answers(source: Source, indices: Indices) -> Mapping[str, Tensor]:
    """Per question int64 B (a class each) or float32 B (a quantity each); empty without any."""
    rows = [source.labels(int(index)) for index in indices]
    if not rows:
        raise ValueError("there are no pictures to evaluate: give at least one")
    return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
