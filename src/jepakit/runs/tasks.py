"""What each word after `--tasks` means: which evaluation, with which settings, on what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from jepakit.core.settings import Settings
from jepakit.evaluation.attentive_probe import AttentiveProbe
from jepakit.evaluation.fine_tuning import FineTuning
from jepakit.evaluation.judgement import Classification, Judgement
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.evaluation.linear_probe import LinearProbe
from jepakit.evaluation.linear_sweep import LinearSweep
from jepakit.evaluation.low_shot import LowShot
from jepakit.evaluation.picture_evaluation import PictureEvaluation
from jepakit.evaluation.questions import Question
from jepakit.runs.evaluation_settings import EvaluationSettings

COUNTING = ("count",)
DISTANCE = ("distance", "nearest_distance_class")
ON_FEATURES = {"knn", "linear", "linear_sweep", "low_shot", "counting", "distance"}

S = TypeVar("S", bound=Settings)


def applies(task: str, question: Question) -> bool:
    """Whether a task puts this question to features."""
    if task == "counting":
        return question.name in COUNTING
    if task == "distance":
        return question.name in DISTANCE
    return task in ON_FEATURES and (question.kind == "class" or task == "linear")


def check_answerable(tasks: Sequence[str], questions: Sequence[Question]) -> None:
    """Raise `ValueError` if not one of the tasks can be put to one of the questions."""
    on_pictures = any(task not in ON_FEATURES for task in tasks)
    for question in questions:
        if (on_pictures and question.kind == "class") or evaluations_asked(tasks, question):
            return
    raise ValueError(
        f"{', '.join(tasks)} cannot answer {', '.join(q.name for q in questions)}: quantities are "
        "for the task linear, e.g. --tasks linear"
    )


def evaluations_asked(tasks: Sequence[str], question: Question) -> list[str]:
    """The tasks that put this question to features; counting and distance are linear probes."""
    asked = [task for task in tasks if applies(task, question)]
    return list(dict.fromkeys("linear" if t in ("counting", "distance") else t for t in asked))


def deciding(task: str, settings: EvaluationSettings) -> list[Settings]:
    """The settings that decide on a task's result."""
    s = settings
    by_task: dict[str, list[Settings]] = {
        "knn": [s.knn],
        "linear": [s.linear],
        "linear_sweep": [s.linear_sweep, s.features],
        "low_shot": [*s.low_shot],
        "low_shot_fine_tune": [s.low_shot[0], s.low_shot_fine_tune],
        "attentive": [s.attentive],
        "fine_tune": [s.fine_tune],
    }
    return by_task[task]


def feature_evaluations(
    task: str, settings: EvaluationSettings, num_train: int, subset: Tensor | None
) -> list[Callable[[int], Classification]]:
    """The evaluations behind a task, as functions of a seed. `subset`: named low-shot pictures."""
    s = settings
    if task == "knn":
        # If none is possible, the evaluation itself says so.
        possible = tuple(k for k in s.knn.neighbours if k <= num_train) or s.knn.neighbours
        fitting = s.knn.model_copy(update={"neighbours": possible})
        return [lambda seed: NearestNeighbours(fitting)]
    if task == "linear_sweep":
        return [lambda seed: LinearSweep(_seeded(s.linear_sweep, seed))]
    if task == "low_shot":
        subsets = None if subset is None else [subset]
        return [_low_shot(one, subsets) for one in s.low_shot]
    return [lambda seed: LinearProbe(_seeded(s.linear, seed))]


def impossible_neighbours(settings: EvaluationSettings, num_train: int) -> str:
    """A sentence about the numbers of neighbours that so few pictures cannot give, or nothing."""
    left_out = [k for k in settings.knn.neighbours if k > num_train]
    if "knn" not in settings.tasks or len(left_out) in (0, len(settings.knn.neighbours)):
        return ""
    told = ", ".join(map(str, left_out))
    return f"k-NN: left out, because there are only {num_train} training pictures: k = {told}"


def _low_shot(
    settings: LowShot.Settings, subsets: Sequence[Tensor] | None
) -> Callable[[int], Classification]:
    return lambda seed: LowShot(settings, subsets)  # it repeats itself, over its own seeds


def picture_evaluation(task: str, settings: EvaluationSettings, seed: int) -> PictureEvaluation:
    """The evaluation behind a task that trains on pictures."""
    if task == "attentive":
        return AttentiveProbe(_seeded(settings.attentive, seed))
    chosen = settings.fine_tune if task == "fine_tune" else settings.low_shot_fine_tune
    return FineTuning(_seeded(chosen, seed))


def _seeded(settings: S, seed: int) -> S:
    return settings.model_copy(update={"seed": seed})


def repeated(judge: Callable[[int], Judgement], first_seed: int, num_seeds: int) -> Judgement:
    """The judgements of several seeds as one: marks averaged, the deviation of scores noted."""
    found = [judge(first_seed + place) for place in range(num_seeds)]
    first = found[0]
    if len(found) == 1:
        return first
    together = {name: torch.stack([one.marks[name] for one in found]) for name in first.marks}
    deviations = {
        f"{name}/deviation": marks.mean(dim=1).std().item() for name, marks in together.items()
    }
    return Judgement(
        {name: marks.mean(dim=0) for name, marks in together.items()},
        first.predictions,
        first.chosen | deviations,
        first.curves,
        first.confidence,
    )


def places_of_names(file: Path, names: Sequence[str]) -> Tensor:
    """Places of the pictures that a file names, one per line: `n01440764/n01440764_10042.JPEG`.

    A line may leave the folder out, as in the official lists. Raises `ValueError`.
    """
    if not file.is_file():
        raise ValueError(f"there is no list of pictures {file}: give low_shot_names a file")
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        places[name] = place
        places.setdefault(name.rpartition("/")[2], place)
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    missing = [line for line in wanted if line not in places]
    if missing or not wanted:
        raise ValueError(
            f"{len(missing)} of {len(wanted)} pictures of {file} are not in the training pictures"
            + (f", e.g. {missing[0]}" if missing else "")
            + ": give the list that belongs to this dataset, and leave num_train out"
        )
    return torch.tensor(sorted({places[line] for line in wanted}))
