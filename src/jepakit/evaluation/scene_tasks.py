"""Many questions to one feature matrix: the tasks of scenes whose exact contents are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.judgement import Classification, Judgement, Measurements, Regression

# The tasks behind the one number of the demo: names of the procedural scenes' labels.
DEMO_TASKS = ("count", "nearest_distance_class", "nearest_shape", "nearest_colour")

TaskLabels = dict[str, Tensor]  # per task int64 B (a class each) or float32 B (a quantity each)


def task_labels(
    labels: Callable[[int], Mapping[str, int | float]], indices: Iterable[int]
) -> TaskLabels:
    """Labels per task of the pictures at `indices`, from a source's `labels(index)`.

    Integers become classes, other numbers quantities.
    """
    rows = [labels(int(index)) for index in indices]
    if not rows:
        raise ValueError("there are no pictures to evaluate: give at least one index")
    return {task: torch.tensor([row[task] for row in rows]) for task in rows[0]}


def judge_tasks(
    train: Float[Tensor, "A D"],
    train_labels: TaskLabels,
    test: Float[Tensor, "B D"],
    test_labels: TaskLabels,
    evaluations: Mapping[str, Classification],
    tasks: Iterable[str] = DEMO_TASKS,
) -> Judgement:
    """Judge the same features in every task; scores are named `task/score`, e.g. `count/linear`.

    `mean/score` is the mean over the tasks, and a picture's mark in it the mean of its marks.
    Raises `ValueError`, with the task's name, where an evaluation does.
    """
    judgements = {}
    for task in tasks:
        trained = Features(train, _labels_of(task, train_labels))
        tested = Features(test, _labels_of(task, test_labels))
        try:
            found = [evaluation.judge(trained, tested) for evaluation in evaluations.values()]
        except ValueError as error:
            raise ValueError(f"task {task}: {error}") from error
        judgements[task] = Judgement.together(found)
    return _with_means(judgements)


def judge_quantities(
    train: Float[Tensor, "A D"],
    train_labels: TaskLabels,
    test: Float[Tensor, "B D"],
    test_labels: TaskLabels,
    regression: Regression,
    tasks: Iterable[str],
) -> Judgement:
    """Predict quantities (distance, position) from the same features, e.g. `nearest_row/r2`."""
    judgements = []
    for task in tasks:
        trained = Measurements(train, _labels_of(task, train_labels).float()[:, None])
        tested = Measurements(test, _labels_of(task, test_labels).float()[:, None])
        try:
            judgements.append(regression.judge(trained, tested).renamed(f"{task}/{{}}".format))
        except ValueError as error:
            raise ValueError(f"task {task}: {error}") from error
    return Judgement.together(judgements)


def _labels_of(task: str, labels: TaskLabels) -> Tensor:
    if task not in labels:
        raise ValueError(f"there is no task {task!r}: choose from {', '.join(labels)}")
    return labels[task]


def _with_means(judgements: Mapping[str, Judgement]) -> Judgement:
    """All tasks' judgements in one, and for each score the mean over the tasks."""
    named = [found.renamed(f"{task}/{{}}".format) for task, found in judgements.items()]
    scores = next(iter(judgements.values())).marks
    means = {
        f"mean/{score}": torch.stack([found.marks[score] for found in judgements.values()]).mean(0)
        for score in scores
    }
    return Judgement.together([*named, Judgement(means, {})])
