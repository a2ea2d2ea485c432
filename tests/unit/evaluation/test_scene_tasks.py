import pytest
import torch

from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.evaluation.linear_probe import LinearProbe, RidgeProbe
from jepakit.evaluation.scene_tasks import DEMO_TASKS, judge_quantities, judge_tasks, task_labels

NUM_PICTURES = 200
EVALUATIONS = {"linear": LinearProbe()}


@pytest.fixture(scope="module")
def labels() -> dict[str, torch.Tensor]:
    scenes = ProceduralScenes(ProceduralScenes.Settings(num_pictures=NUM_PICTURES, size=(8, 8)))
    return task_labels(scenes.labels, range(NUM_PICTURES))


def test_labels_are_columns_of_the_source(labels: dict[str, torch.Tensor]) -> None:
    scenes = ProceduralScenes(ProceduralScenes.Settings(num_pictures=NUM_PICTURES, size=(8, 8)))
    assert set(DEMO_TASKS) <= labels.keys()
    assert labels["count"].dtype == torch.int64
    assert labels["nearest_row"].dtype == torch.float32
    for task, column in labels.items():
        assert column[17].item() == pytest.approx(scenes.labels(17)[task])


def test_features_that_know_two_tasks_score_in_those(labels: dict[str, torch.Tensor]) -> None:
    known = [labels["nearest_shape"], labels["nearest_colour"]]
    values = torch.cat([torch.nn.functional.one_hot(column).float() for column in known], dim=1)
    judgement = judge_tasks(values, labels, values, labels, EVALUATIONS)
    scores = judgement.scores()
    assert scores["nearest_shape/linear"] == scores["nearest_colour/linear"] == 1.0
    assert scores["count/linear"] < 0.5
    four = [scores[f"{task}/linear"] for task in DEMO_TASKS]
    assert scores["mean/linear"] == pytest.approx(sum(four) / 4)
    assert judgement.chosen.keys() == {f"{task}/linear_l2" for task in DEMO_TASKS}


def test_quantities_are_read_off(labels: dict[str, torch.Tensor]) -> None:
    values = torch.stack([labels["nearest_row"] * 2 + 3, labels["count"].float()], dim=1)
    judgement = judge_quantities(
        values, labels, values, labels, RidgeProbe(), ["nearest_row", "nearest_column"]
    )
    assert judgement.scores()["nearest_row/r2"] > 0.999
    assert judgement.scores()["nearest_column/r2"] < 0.2


def test_an_unknown_task_is_named(labels: dict[str, torch.Tensor]) -> None:
    values = torch.randn(NUM_PICTURES, 3)
    with pytest.raises(ValueError, match="no task 'weight': choose from count, "):
        judge_tasks(values, labels, values, labels, EVALUATIONS, ["weight"])


def test_an_error_names_its_task(labels: dict[str, torch.Tensor]) -> None:
    values = torch.randn(NUM_PICTURES, 3)
    one_class = labels | {"nearest_shape": torch.zeros(NUM_PICTURES, dtype=torch.int64)}
    with pytest.raises(ValueError, match="task nearest_shape: all training pictures"):
        judge_tasks(values, one_class, values, one_class, EVALUATIONS, ["nearest_shape"])


def test_no_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one index"):
        task_labels(lambda index: {"count": index}, [])
