"""Training and test pictures: a dataset's own parts, or an equal share of every class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepakit.data.sources import open_parts
from jepakit.data.sources.source import Sample, Source
from jepakit.data.splits import stratified, train_and_test


class Labelled(Source):
    """Black pictures with given labels."""

    num_channels = 1

    def __init__(
        self,
        labels: list[int],
        classes: tuple[str, ...] = ("a", "b", "c"),
        tasks: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._labels = labels
        self.classes = classes
        self.tasks = tasks or {}

    def __len__(self) -> int:
        return len(self._labels)

    def sample(self, index: int) -> Sample:
        return Sample(np.zeros((8, 8, 1), np.uint8), self.name(index), self.label(index))

    def name(self, index: int) -> str:
        return str(index)

    def label(self, index: int) -> int:
        return self._labels[index]

    def fingerprint(self) -> str:
        return "black"


def write(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(folder / name)


def test_every_class_gives_the_same_share() -> None:
    labels = np.array([0] * 50 + [1] * 10 + [2] * 5)
    train, test = stratified(labels, 0.2, seed=0)
    assert np.bincount(labels[test]).tolist() == [10, 2, 1]
    assert sorted([*train, *test]) == list(range(65))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()


def test_the_split_depends_on_the_seed_alone() -> None:
    labels = np.arange(200) % 3
    first, again, other = (stratified(labels, 0.2, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first[0] > 0 or first[-1] < 199  # not simply the first or the last ones
    assert len(set(np.diff(first))) > 1


def test_small_classes_keep_a_picture_to_train_on() -> None:
    labels = np.array([0, 1, 1, 2, 2, 2])
    train, test = stratified(labels, 0.9, seed=0)
    assert np.bincount(labels[train]).tolist() == [1, 1, 1]
    assert np.bincount(labels[test], minlength=3).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"test_share=1.5 must be between 0 and 1"):
        stratified(labels, 1.5, seed=0)


def test_a_class_that_is_never_tested_is_said(caplog: pytest.LogCaptureFixture) -> None:
    train_and_test({"all": Labelled([0, 0, 1, 1, 1, 2])})
    assert "never tested: 1, e.g. c" in caplog.text
    caplog.clear()
    train_and_test({"all": Labelled([0, 0, 1, 1, 2, 2])})
    assert not caplog.text


def test_unlabelled_pictures_are_left_out() -> None:
    source = Labelled([0, 0, -1, 1, 1, -1, 0, 1])
    found = train_and_test({"all": source})
    assert found.train is found.test is source
    assert sorted([*found.train_indices, *found.test_indices]) == [0, 1, 3, 4, 6, 7]
    parts = {"train": source, "test": Labelled([-1, 1])}
    assert train_and_test(parts).test_indices.tolist() == [1]
    assert train_and_test(parts).train_indices.tolist() == [0, 1, 3, 4, 6, 7]


def test_pictures_with_tasks_only_are_all_used() -> None:
    source = Labelled([-1] * 10, classes=(), tasks={"smiles": ("no", "yes")})
    found = train_and_test({"all": source}, test_share=0.3)
    assert (len(found.train_indices), len(found.test_indices)) == (7, 3)


def test_own_parts_are_used_and_val_comes_before_test() -> None:
    parts = {name: Labelled([0, 1, 2]) for name in ("test", "train", "val")}
    found = train_and_test(parts)
    assert (found.train, found.test) == (parts["train"], parts["val"])
    assert found.train_indices.tolist() == found.test_indices.tolist() == [0, 1, 2]
    del parts["val"]
    assert train_and_test(parts).test is parts["test"]


def test_a_random_choice_keeps_the_order() -> None:
    found = train_and_test({"all": Labelled([0, 1] * 100)})
    fewer = found.at_most(20, 10, seed=3)
    assert (len(fewer.train_indices), len(fewer.test_indices)) == (20, 10)
    assert set(fewer.train_indices) < set(found.train_indices)
    assert set(fewer.test_indices) < set(found.test_indices)
    assert (np.diff(fewer.train_indices) > 0).all()
    np.testing.assert_array_equal(fewer.train_indices, found.at_most(20, 10, 3).train_indices)
    assert not np.array_equal(fewer.train_indices, found.train_indices[:20])
    assert found.at_most(None, 999, seed=3) == found


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": Labelled([0]), "val": Labelled([0], ("a", "b"))}, "classes .*only in train: c"),
        ({"train": Labelled([0]), "val": Labelled([0], ("b", "a", "c"))}, "another order"),
        (
            {"train": Labelled([0], tasks={"t": ("x",)}), "val": Labelled([0])},
            "different tasks .*only in train: t",
        ),
        (
            {"train": Labelled([0], tasks={"t": ("x",)}), "val": Labelled([0], tasks={"t": ()})},
            "different classes of t",
        ),
        ({"val": Labelled([0]), "test": Labelled([0])}, "parts test, val: name them train and val"),
        ({"all": Labelled([0, 1, 2])}, "0 to test on, of 3: some class needs two"),
        ({"train": Labelled([0]), "val": Labelled([-1])}, "1 pictures to train on and 0 to test"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, Source], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_and_test(parts)


def test_a_folder_is_opened_by_its_parts(tmp_path: Path) -> None:
    write(tmp_path, ["train/x/1.png", "train/y/2.png", "val/x/3.png", "val/y/4.png", "val/y/5.png"])
    parts = open_parts(tmp_path, channels=1)
    assert {name: len(part) for name, part in parts.items()} == {"train": 2, "val": 3}
    assert train_and_test(parts).test.name(0) == "x/3.png"
    assert parts["train"].num_channels == 1


def test_a_folder_without_parts_is_one(tmp_path: Path) -> None:
    write(tmp_path, ["x/1.png", "x/2.png", "y/3.png", "y/4.png"])
    parts = open_parts(tmp_path)
    assert list(parts) == ["all"]
    assert len(train_and_test(parts).test_indices) == 2


def test_a_table_is_opened_by_its_parts(tmp_path: Path) -> None:
    write(tmp_path, ["1.png", "2.png", "3.png", "4.png"])
    file = tmp_path / "labels.csv"
    file.write_text("path,label,split\n1.png,x,train\n2.png,y,train\n3.png,y,test\n")
    parts = open_parts(file)
    assert {name: len(part) for name, part in parts.items()} == {"train": 2, "test": 1}
    assert parts["test"].classes == ("x", "y")
    file.write_text("path,label\n1.png,x\n2.png,y\n3.png,y\n4.png,x\n")
    assert [len(part) for part in open_parts(file).values()] == [4]


def test_a_folder_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist: give --data"):
        open_parts(tmp_path / "none")
