"""Which questions pictures answer, and what is refused."""

from __future__ import annotations

import pytest

from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.source import Sample, Source
from jepakit.evaluation.questions import DEMO_QUESTIONS, ask


class Labels(Source):
    """A source of labels alone."""

    num_channels = 3

    def __init__(self, classes: tuple[str, ...], labels: list[int]) -> None:
        self.classes, self._labels = classes, labels

    def __len__(self) -> int:
        return len(self._labels)

    def sample(self, index: int) -> Sample:
        raise AssertionError("labels are asked for, not pictures")

    def name(self, index: int) -> str:
        return str(index)

    def label(self, index: int) -> int:
        return self._labels[index]

    def fingerprint(self) -> str:
        return str(self._labels)


def test_a_folders_question_is_the_class() -> None:
    train, test = Labels(("a", "b"), [0, 1, 1]), Labels(("a", "b"), [1, 0])
    (question,) = ask((train, [2, 0]), (test, [0, 1]))
    assert (question.name, question.kind, question.classes) == ("", "class", ("a", "b"))
    assert question.train.tolist() == [1, 0]
    assert question.test.tolist() == [1, 0]


def test_scenes_answer_many_questions_classes_and_quantities() -> None:
    scenes = ProceduralScenes(ProceduralScenes.Settings(num_pictures=6))
    asked = {q.name: q for q in ask((scenes, range(4)), (scenes, range(4, 6)))}
    assert set(DEMO_QUESTIONS) < set(asked)
    assert asked["nearest_distance"].kind == asked["nearest_row"].kind == "quantity"
    assert asked["count"].kind == "class"
    assert asked["count"].classes == scenes.classes
    assert asked["count"].train.tolist() == [scenes.label(index) for index in range(4)]
    assert asked["nearest_row"].test[1].item() == pytest.approx(scenes.labels(5)["nearest_row"])


def test_questions_can_be_named() -> None:
    scenes = ProceduralScenes(ProceduralScenes.Settings(num_pictures=6))
    names = [q.name for q in ask((scenes, [0]), (scenes, [1]), ["nearest_shape", "count"])]
    assert names == ["nearest_shape", "count"]
    with pytest.raises(ValueError, match="do not answer weight; known: count, "):
        ask((scenes, [0]), (scenes, [1]), ["weight"])


def test_what_cannot_be_asked_is_refused() -> None:
    labelled, bare = Labels(("a", "b"), [0, 1]), Labels((), [-1, -1])
    with pytest.raises(ValueError, match="have no labels: put them into one folder per class"):
        ask((bare, [0]), (bare, [1]))
    other = Labels(("a", "c"), [0, 1])
    with pytest.raises(ValueError, match="only one of the two has b, c"):
        ask((labelled, [0]), (other, [1]))
    with pytest.raises(ValueError, match="known: only the class of a picture"):
        ask((labelled, [0]), (labelled, [1]), ["count"])
