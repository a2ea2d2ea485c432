"""Before anything is computed it is clear which of the tasks the pictures can answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.splits import train_and_test
from jepakit.evaluation.feature_bank import FeatureBank
from jepakit.runs.dataset import Dataset, open_dataset
from jepakit.runs.evaluation_settings import EvaluationSettings, Task


class Counted(ProceduralScenes):
    """Scenes of which only the number of objects is known."""

    def __init__(self) -> None:
        super().__init__(ProceduralScenes.Settings(num_pictures=30, size=(32, 32)))
        self.tasks = {"count": self.tasks["count"]}

    def labels(self, index: int) -> dict[str, int | float]:
        return {"count": super().labels(index)["count"]}


class Unlabelled(Counted):
    """Scenes of which nothing is known."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks, self.classes = {}, ()

    def labels(self, index: int) -> dict[str, int | float]:
        return {}


def opened(
    folder: Path, *tasks: Task, source: type[ProceduralScenes] = Counted
) -> tuple[Dataset, str]:
    told: list[str] = []
    bank = FeatureBank(folder, told.append, 16, 0)
    settings = EvaluationSettings(tasks=tasks)
    parts = train_and_test({"all": source()})
    return open_dataset(parts, settings, bank, (32, 32), told.append), "\n".join(told)


def test_a_task_without_answers_is_left_out_and_said(tmp_path: Path) -> None:
    dataset, told = opened(tmp_path, "counting", "distance")
    assert [question.name for question in dataset.questions] == ["count"]
    assert "no answers for it: distance" in told
    _, told = opened(tmp_path, "knn", "counting")
    assert "no answers" not in told


def test_no_answer_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no answers for distance: give --data"):
        opened(tmp_path, "distance")


def test_pictures_without_labels_are_refused_before_they_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the 30 pictures have no labels"):
        opened(tmp_path, "knn", source=Unlabelled)
    assert not list(tmp_path.rglob("*.*"))
