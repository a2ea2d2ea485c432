"""What the words after `--tasks` stand for."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.fine_tuning import FineTuning
from jepakit.evaluation.judgement import Judgement
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.evaluation.linear_sweep import LinearSweep
from jepakit.evaluation.questions import Question
from jepakit.runs.evaluation_settings import EvaluationSettings, FeatureSettings, Task
from jepakit.runs.tasks import (
    ON_FEATURES,
    applies,
    check_answerable,
    deciding,
    evaluations_asked,
    feature_evaluations,
    impossible_neighbours,
    picture_evaluation,
    places_of_names,
    repeated,
)

SETTINGS = EvaluationSettings()


def question(name: str, kind: str = "class") -> Question:
    return Question(name, kind, ("a", "b"), torch.zeros(3), torch.zeros(2))  # type: ignore[arg-type]


@pytest.mark.parametrize("task", get_args(Task))
def test_every_task_has_an_evaluation_and_settings(task: str) -> None:
    if task in ("counting", "distance"):
        task = evaluations_asked([task], question("count" if task == "counting" else "distance"))[0]
    assert deciding(task, SETTINGS)
    if task in ON_FEATURES:
        assert feature_evaluations(task, SETTINGS, 1000, None)
    else:
        picture_evaluation(task, SETTINGS, 0)


def test_seeds_reach_what_draws_at_random() -> None:
    (sweep,) = feature_evaluations("linear_sweep", SETTINGS, 1000, None)
    made = sweep(7)
    assert isinstance(made, LinearSweep)
    assert made.settings.seed == 7
    tuned = picture_evaluation("low_shot_fine_tune", SETTINGS, 5)
    assert isinstance(tuned, FineTuning)
    assert tuned.settings.seed == 5
    assert tuned.settings.head == "probe"  # the settings for few labels
    assert tuned.settings.lr == SETTINGS.low_shot_fine_tune.lr


def test_no_more_neighbours_than_pictures() -> None:
    for num_train, neighbours in ((50, (10, 20)), (1000, (10, 20, 100, 200))):
        made = feature_evaluations("knn", SETTINGS, num_train, None)[0](0)
        assert isinstance(made, NearestNeighbours)
        assert made.settings.neighbours == neighbours
    assert "only 50 training pictures: k = 100, 200" in impossible_neighbours(SETTINGS, 50)
    assert impossible_neighbours(SETTINGS, 200) == ""


def test_fewer_pictures_than_any_number_of_neighbours_are_an_error() -> None:
    judge = feature_evaluations("knn", SETTINGS, 5, None)[0](0).judge
    few = Features(torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 0]))
    with pytest.raises(ValueError, match=r"among 5 training pictures: .*knn\.neighbours=\[5\]"):
        judge(few, few)
    assert impossible_neighbours(SETTINGS, 5) == ""


def test_a_gpu_is_fed_by_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    assert SETTINGS.features.workers(torch.device("cpu")) == 1
    assert SETTINGS.features.workers(torch.device("cuda")) == 11
    assert FeatureSettings(num_workers=0).workers(torch.device("cuda")) == 0


def test_which_task_asks_which_question() -> None:
    assert applies("counting", question("count"))
    assert not applies("counting", question("nearest_shape"))
    assert applies("distance", question("nearest_distance_class"))
    assert applies("linear", question("nearest_row", "quantity"))
    assert not applies("knn", question("nearest_row", "quantity"))
    assert not applies("fine_tune", question(""))


def test_quantities_alone_need_the_linear_task() -> None:
    quantities = [question("brightness", "quantity")]
    for task in ("knn", "fine_tune"):
        with pytest.raises(ValueError, match=r"cannot answer brightness: .*--tasks linear"):
            check_answerable([task], quantities)
        check_answerable([task], [*quantities, question("fish")])
    check_answerable(["linear"], quantities)


def test_a_probe_is_asked_once_whatever_it_is_called() -> None:
    tasks = ("knn", "counting", "linear", "distance")
    assert evaluations_asked(tasks, question("count")) == ["knn", "linear"]
    assert evaluations_asked(tasks, question("nearest_shape")) == ["knn", "linear"]
    assert evaluations_asked(("distance",), question("count")) == []


def test_repetitions_are_averaged_and_their_deviation_is_noted() -> None:
    def judge(seed: int) -> Judgement:
        marks = torch.tensor([1.0, float(seed % 2), 0.0, 0.0])
        return Judgement({"s": marks}, {"s": torch.tensor([seed] * 4)}, {"l2": float(seed)})

    found = repeated(judge, 4, 2)
    assert found.marks["s"].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert found.chosen["s/deviation"] == pytest.approx(0.125 * 2**0.5)
    assert found.predictions["s"].tolist() == [4] * 4
    assert repeated(judge, 4, 1).chosen == {"l2": 4.0}


def test_lists_of_names_with_and_without_folders(tmp_path: Path) -> None:
    names = ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"]
    listing = tmp_path / "one_percent.txt"
    listing.write_text("# official\n3.jpg\n\ncat/1.jpg\n3.jpg\n")
    assert places_of_names(listing, names).tolist() == [0, 2]
    listing.write_text("4.jpg\n3.jpg\n")
    with pytest.raises(ValueError, match=r"1 of 2 pictures of .* e.g. 4.jpg"):
        places_of_names(listing, names)
    with pytest.raises(ValueError, match="there is no list of pictures"):
        places_of_names(tmp_path / "none.txt", names)
