"""Keeps the list of pictures that cannot be read, and stops a run that has too many of them."""

import csv
from collections.abc import Iterable
from pathlib import Path

from jepakit.data.sources.source import BrokenPicture

_ENOUGH_TO_JUDGE = 100  # pictures; if most of the first ones are broken, something else is wrong


class BrokenPictures:
    """Distinct broken pictures of a run, also those that an earlier part of the run listed.

    `file` (CSV: name, reason) may be shared by several processes; None keeps the list in memory.
    """

    def __init__(self, num_pictures: int, max_share: float, file: Path | None = None) -> None:
        self._num_pictures = num_pictures
        self._max_share = max_share
        self._file = file
        self._num_tried = 0
        self._num_new = 0
        self._reasons = self._listed()

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each broken picture, by its name, could not be read."""
        return dict(self._reasons)

    def add(self, broken: Iterable[BrokenPicture], num_tried: int) -> None:
        """Note what was found among `num_tried` pictures; `ValueError` if it is too much."""
        self._num_tried += num_tried
        new = {picture.name: picture.reason for picture in broken}
        new = {name: reason for name, reason in new.items() if name not in self._reasons}
        if new:
            self._num_new += len(new)
            self._append(new)
            self._reasons.update(new)
            self._judge()

    def _judge(self) -> None:
        mostly_broken = (
            self._num_tried >= _ENOUGH_TO_JUDGE and self._num_new > 0.5 * self._num_tried
        )
        if len(self) > self._max_share * self._num_pictures or mostly_broken:
            raise ValueError(self.describe())

    def describe(self) -> str:
        """One sentence for the user, with an example."""
        name, reason = next(iter(self._reasons.items()))
        listed = f" (listed in {self._file})" if self._file else ""
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
        known = self._listed()  # another process may have added some since
        is_empty = not self._file.exists()
        with self._file.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            if is_empty:
                writer.writerow(["name", "reason"])
            writer.writerows(item for item in new.items() if item[0] not in known)
