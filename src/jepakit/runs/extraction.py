"""Features of a dataset, made in parts: by one process or many, and kept if a process is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from jepakit.data.sources import Source
from jepakit.evaluation.feature_bank import FeatureBank
from jepakit.evaluation.features import Reading
from jepakit.evaluation.subject import Pictures, Subject

FEWEST, MOST, USUAL_NUMBER = 256, 16384, 16  # pictures per part, parts of a dataset


@dataclass(frozen=True)
class Part:
    """Some successive pictures of one part of a dataset."""

    split: str
    pictures: Pictures


@dataclass(frozen=True)
class Extraction:
    """What is read of all pictures, kept in `folder` until it is written elsewhere.

    The parts do not depend on how many processes make them: a run that was stopped goes on with
    more devices, or fewer.
    """

    subject: Subject
    splits: Mapping[str, Source]
    reading: Reading
    folder: Path
    batch_size: int = 256
    num_workers: int = 1

    def __len__(self) -> int:
        return sum(len(source) for source in self.splits.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is read of a picture: D, or rows, columns and D."""
        return self.reading.shape(self.subject.backbone, self.subject.size)

    def parts(self) -> list[Part]:
        """All pictures, in their order."""
        size = min(MOST, max(FEWEST, -(-len(self) // USUAL_NUMBER)))
        return [
            Part(split, _some(source, range(first, min(first + size, len(source)))))
            for split, source in self.splits.items()
            for first in range(0, len(source), size)
        ]

    def num_made(self) -> int:
        """Pictures that are safe in the folder."""
        return self._bank().num_safe()

    def make(
        self, rank: int, world_size: int, watch: Callable[[int, int], None] = lambda *_: None
    ) -> int:
        """Make this process's share of the parts; `watch` hears (pictures done, in all).

        Returns how many pictures were made now, by this process.
        """
        made = 0
        for part in self.parts()[rank::world_size]:
            heard: list[int] = []
            elsewhere = self.num_made()

            def hear(rows: int, heard: list[int] = heard, elsewhere: int = elsewhere) -> None:
                heard.append(rows)
                watch(min(elsewhere + rows - heard[0], len(self)), len(self))

            self._bank(hear).read(self.subject, part.pictures, self.reading)
            made += heard[-1] - heard[0]
        return made

    def rows(self) -> Iterator[tuple[Part, Float[Tensor, "B D"]]]:
        """The rows of each part, tokens flattened; of pictures that cannot be read, NaN.

        Whatever is missing is made.
        """
        bank = self._bank()
        for part in self.parts():
            yield part, bank.read(self.subject, part.pictures, self.reading)

    def _bank(self, watch: Callable[[int], None] = lambda rows: None) -> FeatureBank:
        return FeatureBank(self.folder, lambda line: None, self.batch_size, self.num_workers, watch)


def _some(source: Source, indices: range) -> Pictures:
    labels = torch.tensor([source.label(index) for index in indices], dtype=torch.int64)
    return Pictures(source, indices, labels)
