"""What a probe answered, class by class: confusions, accuracy, and its most confident mistakes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jepakit.data.loader import evaluation_loader
from jepakit.evaluation.judgement import Judgement
from jepakit.evaluation.questions import Question
from jepakit.runs.evaluation import Evaluated
from jepakit.visualization import Gallery, Picture, Section, Table

NUM_MISTAKES = 12
MOST_CLASSES = 40  # a larger confusion matrix cannot be read
_SHOWN = 128  # pixels, the side of a picture on the page


def answers(evaluated: Evaluated, row: str) -> list[Section]:
    """Confusion matrix, accuracy per class and the most confident mistakes, of one row's probe."""
    judgement = evaluated.judgements[row]
    name = _main_score(judgement)
    if name is None:
        return []
    asked = {question.name: question for question in evaluated.dataset.questions}
    question = asked[name.rpartition("/")[0]]
    predicted, right = judgement.predictions[name], question.test
    told = f"{name.replace('_', ' ')}, {row}"
    sections: list[Section] = []
    if len(question.classes) <= MOST_CLASSES:
        sections.append(_confusion(question, predicted, told))
    sections.append(_per_class(question, predicted, told))
    sections += _mistakes(evaluated, question, predicted, judgement.confidence[name])
    assert len(predicted) == len(right)
    return sections


def _main_score(judgement: Judgement) -> str | None:
    """The score whose predictions are shown: a linear probe's if there is one."""
    sure = list(judgement.confidence)
    return next((name for name in sure if name.endswith("linear")), sure[0] if sure else None)


def _confusion(question: Question, predicted: Tensor, told: str) -> Section:
    size = len(question.classes)
    counts = torch.bincount(question.test * size + predicted, minlength=size * size)
    rows = tuple(
        (name, *row)
        for name, row in zip(question.classes, counts.view(size, size).tolist(), strict=True)
    )
    caption = f"downwards the right class, across the answer ({told}); numbers of test pictures"
    head = ("is / taken for", *question.classes)
    return Table(head, rows, caption, "Confusions", shaded=True)


def _per_class(question: Question, predicted: Tensor, told: str) -> Section:
    rows = []
    for place, name in enumerate(question.classes):
        mine = question.test == place
        if mine.any():
            share = 100 * (predicted[mine] == place).float().mean().item()
            rows.append((name, int(mine.sum()), share))
    rows.sort(key=lambda row: row[2])
    caption = f"percent right, the worst first ({told})"
    return Table(("class", "pictures", "right"), tuple(rows), caption, "Accuracy per class")


def _mistakes(
    evaluated: Evaluated, question: Question, predicted: Tensor, confidence: Tensor
) -> list[Section]:
    wrong = (predicted != question.test).nonzero().flatten()
    places = wrong[confidence[wrong].argsort(descending=True)][:NUM_MISTAKES].tolist()
    if not places:
        return []
    test = evaluated.dataset.test
    views = torch.cat(
        [
            v
            for v, _, _ in evaluation_loader(
                test.source, (_SHOWN, _SHOWN), [test.indices[place] for place in places]
            )
        ]
    )
    pictures = tuple(
        Picture(
            _three_channels(view),
            f"test picture {test.source.name(test.indices[place])}",
            caption=f"{question.classes[int(predicted[place])]} "
            f"({100 * float(confidence[place]):.0f} % sure), "
            f"is {question.classes[int(question.test[place])]}",
        )
        for view, place in zip(views, places, strict=True)
    )
    return [Gallery(pictures, "", "Most confident mistakes", narrowest=150)]


def _three_channels(view: Tensor) -> np.ndarray:
    channels = view[:3] if len(view) >= 3 else view[:1].expand(3, -1, -1)
    return np.ascontiguousarray(channels.permute(1, 2, 0).numpy())
