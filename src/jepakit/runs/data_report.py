"""What is worth knowing about a dataset before training on it, in words and numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jepakit.core.byte_sizes import in_bytes
from jepakit.data.inspection import Inspection, Place, Seen
from jepakit.data.sources import Source
from jepakit.runs.config import DataSettings

Pair = tuple[Seen, Seen]
UNLABELLED = "(unlabelled)"
_NUM_BINS = 12
_MOST_BROKEN: float = DataSettings.model_fields["max_broken_share"].default
_CHANNELS = re.compile(r"(\d+) channels where channels=")  # what a reader says of arrays


@dataclass(frozen=True)
class DataReport:
    """The parts of a dataset, and what was seen of their pictures."""

    parts: Mapping[str, Source]
    inspection: Inspection

    @cached_property
    def num_pictures(self) -> int:
        """In all parts."""
        return sum(len(source) for source in self.parts.values())

    @cached_property
    def num_looked_at(self) -> int:
        """Pictures that were opened."""
        return len(self.inspection.seen) + len(self.inspection.broken)

    @cached_property
    def same_files(self) -> list[Pair]:
        """Pictures whose file is that of an earlier picture, and that one."""
        return self.inspection.same_files()

    @cached_property
    def look_alikes(self) -> list[Pair]:
        """Pictures of other files that look like an earlier one, and that one."""
        return self.inspection.look_alikes()

    def name(self, place: Place) -> str:
        """A picture's name, with its part if there are several."""
        part, source = list(self.parts.items())[place[0]]
        return f"{part}/{source.name(place[1])}" if len(self.parts) > 1 else source.name(place[1])

    def facts(self) -> list[tuple[str, str]]:
        """Names and values, the most important first."""
        return [
            ("pictures", self._pictures()),
            ("classes", self._classes()),
            *([("questions", questions)] if (questions := self._questions()) else []),
            *(self._of_readable() if self.inspection.seen else []),
            ("cannot be read", f"{len(self.inspection.broken):,}"),
            ("same file twice", self._pairs(self.same_files)),
            ("look alike", self._pairs(self.look_alikes)),
        ]

    def class_counts(self) -> list[tuple[str, list[int]]]:
        """Every class with its number of pictures in each part; unlabelled ones last."""
        counts: dict[str, list[int]] = {}
        for place, source in enumerate(self.parts.values()):
            labels = Counter(source.label(index) for index in range(len(source)))
            for label in sorted(labels, key=lambda label: (label < 0, label)):
                name = source.classes[label] if label >= 0 else UNLABELLED
                counts.setdefault(name, [0] * len(self.parts))[place] = labels[label]
        return list(counts.items())

    def shorter_sides(self) -> list[tuple[str, int]]:
        """How many pictures have a shorter side in each of some ranges of pixels."""
        sides = np.array([min(picture.size) for picture in self.inspection.seen])
        low, high = int(sides.min()), int(sides.max())
        if low == high:
            return [(f"{low}", len(sides))]
        edges = np.unique(np.geomspace(low, high + 1, _NUM_BINS + 1).round().astype(int))
        counts, _ = np.histogram(sides, edges)
        ranges = zip(edges[:-1].tolist(), (edges[1:] - 1).tolist(), counts.tolist(), strict=True)
        return [(f"{a}" if a == b else f"{a} to {b}", count) for a, b, count in ranges]

    def warnings(self) -> list[str]:
        """What should be mended or known before training."""
        seen, found = self.inspection.seen, []
        if self.inspection.broken:
            found.append(self._about_broken())
        across = [p for p in (*self.same_files, *self.look_alikes) if _is_across(p)]
        if across:
            names = " and ".join(self.name(picture.place) for picture in across[0])
            found.append(
                f"{len(across):,} pictures are in two parts, e.g. {names}: scores on the held-out "
                "part may be too high."
            )
        if seen and all(p.is_grey and p.kind.endswith("RGB") for p in seen):
            found.append("All pictures are grey but stored in colour: one channel is enough.")
        return found

    def _about_broken(self) -> str:
        broken = self.inspection.broken
        share, most = len(broken) / self.num_looked_at, _MOST_BROKEN
        told = f"{len(broken):,} of {self.num_looked_at:,} pictures cannot be read"
        channels = {m[1] for e in broken.values() if (m := _CHANNELS.search(e.reason))}
        if not self.inspection.seen and len(channels) == 1:
            return f"{told}: say how many channels they have, --channels {channels.pop()}."
        if share <= most:
            return f"{told}: training leaves them out."
        enough = math.ceil(100 * share) / 100
        return (
            f"{told}: more than {most:.0%}, so that a training would stop. Repair or remove them, "
            f"or train on the others with data.max_broken_share={enough:g}."
        )

    def _pictures(self) -> str:
        parts = [f"{len(source):,} {name}" for name, source in self.parts.items()]
        told = ", ".join(parts) if len(parts) > 1 else f"{self.num_pictures:,}"
        if self.num_looked_at < self.num_pictures:
            told += f"; a random sample of {self.num_looked_at:,} was looked at"
        return told

    def _classes(self) -> str:
        counts = [(name, sum(numbers)) for name, numbers in self.class_counts()]
        unlabelled = dict(counts).pop(UNLABELLED, 0)
        labelled = [(name, number) for name, number in counts if name != UNLABELLED]
        if not labelled:
            return "none: the pictures are unlabelled"
        least, most = (pick(labelled, key=lambda each: each[1]) for pick in (min, max))
        told = (
            f"{len(labelled):,}, of {least[1]:,} ({least[0]}) to {most[1]:,} ({most[0]}) pictures"
        )
        if least[1] == most[1]:
            told = f"{len(labelled):,}, of {least[1]:,} pictures each"
        return f"{told}; {unlabelled:,} unlabelled" if unlabelled else told

    def _questions(self) -> str:
        source = next(iter(self.parts.values()))
        tasks = [f"{name} ({len(classes)} classes)" for name, classes in source.tasks.items()]
        return ", ".join([*tasks, *(n for n in source.labels(0) if n not in source.tasks)])

    def _of_readable(self) -> list[tuple[str, str]]:
        seen = self.inspection.seen
        sizes = np.array([picture.size for picture in seen])
        by_area = sizes[np.argsort(sizes.prod(1), kind="stable")]
        small, middle, large = (
            f"{width} x {height}" for height, width in by_area[[0, len(seen) // 2, -1]].tolist()
        )
        kinds = self.inspection.kinds().most_common()
        num_bytes = sum(picture.num_bytes for picture in seen)
        total = num_bytes / len(seen) * (self.num_pictures - len(self.inspection.broken))
        about = "about " if self.num_looked_at < self.num_pictures else ""
        num_grey = sum(picture.is_grey for picture in seen)
        return [
            ("sizes", f"{small} to {large}, median {middle} pixels (width x height)"),
            ("files", ", ".join(f"{count:,} {kind}" for kind, count in kinds)),
            ("grey", f"{num_grey:,} show no colours"),
            ("bytes", f"{about}{in_bytes(total)}, {in_bytes(num_bytes / len(seen))} each"),
        ]

    def _pairs(self, pairs: list[Pair]) -> str:
        if not pairs:
            return "0"
        second, first = (self.name(picture.place) for picture in pairs[0])
        return f"{len(pairs):,}, e.g. {second} and {first}"


def _is_across(pair: Pair) -> bool:
    return pair[0].place[0] != pair[1].place[0]
