"""The pictures of an evaluation: two parts that can be read, and what is asked about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from jepakit.core.errors import RunFailed
from jepakit.data.broken_pictures import reason_of
from jepakit.data.duplicates import Duplicate, Fingerprints, find_duplicates, fingerprints
from jepakit.data.sources import Source
from jepakit.data.splits import TrainAndTest
from jepakit.evaluation.feature_bank import FeatureBank
from jepakit.evaluation.features import pixel_rows
from jepakit.evaluation.picture_evaluation import Tell
from jepakit.evaluation.questions import Question, ask
from jepakit.evaluation.subject import Pictures
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.tasks import COUNTING, DISTANCE

_ASKED_BY = {"counting": COUNTING, "distance": DISTANCE}
_HASH_PARTS = 4  # 16 bits each, which float32 holds exactly
_PRINT = _HASH_PARTS + 256  # and the thumbnail's grey values


@dataclass(frozen=True)
class Dataset:
    """Readable pictures with their raw pixels, and the questions asked about them."""

    train: Pictures
    test: Pictures
    train_pixels: Float[Tensor, "A D"]
    test_pixels: Float[Tensor, "B D"]
    questions: list[Question]
    duplicates: list[Duplicate]
    num_broken: int

    @property
    def source(self) -> Source:
        """The training pictures' source."""
        return self.train.source


def open_dataset(
    parts: TrainAndTest,
    settings: EvaluationSettings,
    bank: FeatureBank,
    size: tuple[int, int],
    tell: Tell,
) -> Dataset:
    """Look at every picture once: what cannot be read is left out and said."""
    if unanswered := _unanswered(settings, parts.train):
        tell(f"left out, because these pictures have no answers for it: {', '.join(unanswered)}")
    some = parts.at_most(settings.num_train, settings.num_test, settings.seed)
    train_places, test_places = some.train_indices.tolist(), some.test_indices.tolist()
    names = _names(settings, some.train)
    # What cannot be asked is told before every picture is looked at.
    ask((some.train, train_places[:1]), (some.test, test_places[:1]), names)
    train, train_rows = _looked_at(some.train, train_places, bank, size)
    test, test_rows = _looked_at(some.test, test_places, bank, size)
    num_broken = len(some.train_indices) + len(some.test_indices) - len(train) - len(test)
    if num_broken:
        tell(f"left out, because they cannot be read: {num_broken} of the pictures")
    duplicates = []
    if settings.duplicates:
        duplicates = find_duplicates(_fingerprints_in(train_rows), _fingerprints_in(test_rows))
        if duplicates:
            tell(_about_duplicates(duplicates, train, test))
    return Dataset(
        train,
        test,
        train_rows[:, :-_PRINT],
        test_rows[:, :-_PRINT],
        ask((train.source, train.indices), (test.source, test.indices), names),
        duplicates,
        num_broken,
    )


def _names(settings: EvaluationSettings, source: Source) -> Sequence[str] | None:
    """The questions that settings and tasks stand for; None = all that the source answers."""
    if settings.questions is not None or not set(settings.tasks) <= set(_ASKED_BY):
        return settings.questions
    return [n for task in settings.tasks for n in _ASKED_BY[task] if n in source.tasks]


def _unanswered(settings: EvaluationSettings, source: Source) -> list[str]:
    """The tasks whose question these pictures have no answer to; `ValueError` if these are all."""
    known = set(source.tasks)
    asked: list[str] = [task for task in settings.tasks if task in _ASKED_BY]
    found = [task for task in asked if known.isdisjoint(_ASKED_BY[task])]
    if found and len(found) == len(settings.tasks):
        raise ValueError(
            f"these pictures have no answers for {' and '.join(found)}: give --data a "
            "folder of CLEVR v1.0, or built-in scenes: --data scenes"
        )
    return found


def _looked_at(
    source: Source, indices: list[int], bank: FeatureBank, size: tuple[int, int]
) -> tuple[Pictures, Tensor]:
    """The pictures that can be read, and rows of their pixels and fingerprints."""

    def make(views: Tensor) -> Tensor:
        found = fingerprints(views)
        bits, thumbnails = torch.from_numpy(found.hashes), torch.from_numpy(found.thumbnails)
        parts = torch.stack([(bits >> (16 * part)) & 0xFFFF for part in range(_HASH_PARTS)], dim=1)
        return torch.cat([pixel_rows(views), parts.float(), thumbnails.float()], dim=1)

    blank = torch.zeros(1, source.num_channels, *size, dtype=torch.uint8)
    labels = torch.tensor([source.label(index) for index in indices])
    pictures = Pictures(source, indices, labels)
    rows = bank.made("raw pixels", make(blank).shape[1], pictures, make, size)
    readable = torch.isfinite(rows).all(dim=1)
    if not readable.any():
        why = reason_of(source, indices)
        raise RunFailed(f"none of the {len(indices)} pictures can be read{why}")
    if readable.all():
        return pictures, rows
    return pictures.at(readable), rows[readable]


def _fingerprints_in(rows: Tensor) -> Fingerprints:
    parts = rows[:, -_PRINT : -_PRINT + _HASH_PARTS].long()
    bits = torch.zeros(len(rows), dtype=torch.long)
    for part in range(_HASH_PARTS):
        bits |= parts[:, part] << (16 * part)
    return Fingerprints(bits.numpy(), rows[:, -_PRINT + _HASH_PARTS :].byte().numpy())


def _about_duplicates(found: list[Duplicate], train: Pictures, test: Pictures) -> str:
    names = (
        test.source.name(test.indices[found[0].test]),
        train.source.name(train.indices[found[0].train]),
    )
    return (
        f"{len(found)} of {len(test)} test pictures look like training pictures, "
        f"e.g. {names[0]} and {names[1]}: scores may be too high"
    )
