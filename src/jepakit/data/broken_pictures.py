"""Keeps the list of pictures that cannot be read, and stops a run that has too many of them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from jepakit.core.distributed import rank, world_size
from jepakit.data.sources.source import BrokenPicture, Source

_ENOUGH_TO_JUDGE = 100  # pictures; if most of the first ones are broken, something else is wrong


class TooManyBroken(ValueError):
    """More pictures cannot be read than the run allows; `found` are those seen so far."""

    def __init__(self, found: "BrokenPictures") -> None:
        super().__init__(found.describe())
        self.found = found


class BrokenPictures:
    """Distinct broken pictures of a run, also those that an earlier part of the run listed.

    `file` (CSV: name, reason) is written by the first process; None keeps the list in memory.
    In a run of several processes each tells its `news` and hears that of all: they count together.
    """

    def __init__(self, num_pictures: int, max_share: float, file: Path | None = None) -> None:
        self._num_pictures = num_pictures
        self._max_share = max_share
        self._file = file
        self._num_tried = 0
        self._num_new = 0
        self._news: dict[str, str] = {}  # not yet told to the other processes
        self._reasons = self._listed()

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each broken picture, by its name, could not be read."""
        return dict(self._reasons)

    def add(self, broken: Iterable[BrokenPicture], num_tried: int) -> None:
        """Note what was found among `num_tried` pictures; `ValueError` if it is too much.

        With several processes the judgement waits for `hear`.
        """
        self._num_tried += num_tried * world_size()
        self._news.update((picture.name, picture.reason) for picture in broken)
        if self._news and world_size() == 1:
            self.hear([self.news()])

    @property
    def has_news(self) -> bool:
        """Whether there is something that the other processes do not know."""
        return bool(self._news)

    def news(self) -> dict[str, str]:
        """What they do not know; from now on they do."""
        told, self._news = self._news, {}
        return told

    def hear(self, told: Iterable[dict[str, str]]) -> None:
        """Count what all processes told; `ValueError`, on all of them, if it is too much."""
        new = {
            name: reason
            for news in told
            for name, reason in news.items()
            if name not in self._reasons
        }
        if new:
            self._num_new += len(new)
            if rank() == 0:
                self._append(new)
            self._reasons.update(new)
            self._judge()

    def _judge(self) -> None:
        mostly_broken = (
            self._num_tried >= _ENOUGH_TO_JUDGE and self._num_new > 0.5 * self._num_tried
        )
        if len(self) > self._max_share * self._num_pictures or mostly_broken:
            raise TooManyBroken(self)

    def describe(self, tell_file: bool = True) -> str:
        """One sentence for the user, with an example."""
        name, reason = next(iter({**self._reasons, **self._news}.items()))
        listed = f" (listed in {self._file})" if self._file and tell_file else ""
        return (
            f"{len(self)} of {self._num_pictures} pictures cannot be read{listed}, e.g. {name}: "
            f"{reason}; repair or remove them, or set data.max_broken_share above "
            f"{self._max_share:g}"
        )

    def _listed(self) -> dict[str, str]:
        if self._file is None or not self._file.exists():
            return {}
        with self._file.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return {row["name"]: row["reason"] for row in csv.DictReader(file)}

    def _append(self, new: dict[str, str]) -> None:
        if self._file is None:
            return
        is_empty = not self._file.exists()
        with self._file.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            if is_empty:
                writer.writerow(["name", "reason"])
            writer.writerows(new.items())


def reason_of(source: Source, indices: Sequence[int]) -> str:
    """Why the first of pictures that cannot be read cannot: the end of a sentence."""
    try:
        source.sample(int(indices[0]))
    except BrokenPicture as error:
        return f", e.g. {error}"
    return ""
