"""Which pictures probes are trained on and which they are tested on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from jepakit.core.randomness import generator
from jepakit.data.sources.source import Source

_log = logging.getLogger(__name__)
_HELD_OUT_PARTS = ("val", "test")  # the first that is there: test parts often lack their labels


@dataclass(frozen=True)
class TrainAndTest:
    """Two sets of pictures without a picture in common: sources, and ascending places in them."""

    train: Source
    test: Source
    train_indices: Int[np.ndarray, " A"]
    test_indices: Int[np.ndarray, " B"]

    def fingerprint(self) -> str:
        """Changes with the pictures, not with which of them are chosen."""
        both = f"{self.train.fingerprint()} {self.test.fingerprint()}"
        return hashlib.sha256(both.encode()).hexdigest()[:12]

    def at_most(self, num_train: int | None, num_test: int | None, seed: int) -> TrainAndTest:
        """A random choice of so many pictures of each; None keeps all."""
        return replace(
            self,
            train_indices=_choose(self.train_indices, num_train, seed, "evaluation train"),
            test_indices=_choose(self.test_indices, num_test, seed, "evaluation test"),
        )


def train_and_test(
    parts: Mapping[str, Source], seed: int = 0, test_share: float = 0.2
) -> TrainAndTest:
    """A dataset's own parts, or a seeded split of the only part, equal in every class.

    `parts` comes from `open_parts`: "train" beside "val" or "test", or a single part of any name.
    If the source has classes, unlabelled pictures are left out. Raises `ValueError` where the
    parts have different classes or tasks, or too few pictures are labelled.
    """
    if len(parts) == 1:
        (source,) = parts.values()
        train, test = stratified(_labels(source), test_share, seed)
        _check_filled(source, train, test)
        _tell_untested(source, train, test)
        return TrainAndTest(source, source, train, test)
    held_out = next((name for name in _HELD_OUT_PARTS if name in parts), None)
    if "train" not in parts or held_out is None:
        raise ValueError(
            f"the data has the parts {', '.join(sorted(parts))}: name them train and val (or test)"
        )
    source, other = parts["train"], parts[held_out]
    _check_same_labels(source, other, held_out)
    train, test = (np.flatnonzero(_labels(part) >= 0) for part in (source, other))
    _check_filled(source, train, test)
    return TrainAndTest(source, other, train, test)


def stratified(
    labels: Int[np.ndarray, " N"], test_share: float, seed: int
) -> tuple[Int[np.ndarray, " A"], Int[np.ndarray, " B"]]:
    """Ascending places for training and test; `test_share` of every class, but never all of it.

    A class of one picture is for training only. Labels below 0 are left out.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share={test_share} must be between 0 and 1, e.g. 0.2")
    shuffled = generator(seed, "train and test").permutation(len(labels))
    shuffled = shuffled[labels[shuffled] >= 0]
    is_test = np.zeros(len(labels), bool)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts = np.unique(labels[by_class], return_index=True)
    for members in np.split(by_class, starts[1:]):
        num_test = max(1, round(len(members) * test_share))
        is_test[members[: min(num_test, len(members) - 1)]] = True
    labelled = labels >= 0
    return np.flatnonzero(labelled & ~is_test), np.flatnonzero(is_test)


def _labels(source: Source) -> Int[np.ndarray, " N"]:
    """The class of every picture; one class for all where there are only tasks or quantities."""
    if not source.classes:
        return np.zeros(len(source), np.int64)
    labels = np.fromiter((source.label(i) for i in range(len(source))), np.int64, len(source))
    if (labels < 0).any():
        _log.warning("%d pictures without a label are left out", (labels < 0).sum())
    return labels


def _check_filled(source: Source, train: np.ndarray, test: np.ndarray) -> None:
    if not (len(train) and len(test)):
        raise ValueError(
            f"{len(train)} pictures to train on and {len(test)} to test on, of {len(source)}: "
            "some class needs two labelled pictures, one to train on and one to test on"
        )


def _tell_untested(source: Source, train: np.ndarray, test: np.ndarray) -> None:
    """A class of one picture has none to be tested on."""
    if not source.classes:
        return
    trained, tested = ({source.label(int(i)) for i in part} for part in (train, test))
    names = [source.classes[label] for label in sorted(trained - tested)]
    if names:
        _log.warning(
            "classes with a single picture, which are trained on but never tested: %d, e.g. %s",
            len(names),
            names[0],
        )


def _check_same_labels(train: Source, test: Source, name: str) -> None:
    _check_same("classes", train.classes, test.classes, name)
    _check_same("tasks", tuple(train.tasks), tuple(test.tasks), name)
    for task in train.tasks:
        _check_same(f"classes of {task}", train.tasks[task], test.tasks[task], name)


def _check_same(what: str, train: tuple[str, ...], test: tuple[str, ...], name: str) -> None:
    """Places in different tuples could not be compared."""
    if train == test:
        return
    only = {"train": sorted(set(train) - set(test)), name: sorted(set(test) - set(train))}
    found = "; ".join(
        f"only in {part}: {', '.join(names[:5])}" for part, names in only.items() if names
    )
    raise ValueError(
        f"the parts have different {what} ({found or 'another order'}): give train and {name} the "
        "same ones, or one folder for a split of our own"
    )


def _choose(indices: np.ndarray, most: int | None, seed: int, name: str) -> np.ndarray:
    if most is None or most >= len(indices):
        return indices
    return np.sort(generator(seed, name).permutation(indices)[:most])
