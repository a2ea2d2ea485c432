"""Several sources as one, each seen as often as its weight says."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
from jaxtyping import Int, UInt8
from pydantic import Field, field_validator

from jepakit.core.randomness import generator
from jepakit.core.settings import Settings as FrozenSettings
from jepakit.data.sources.kinds import Unmixed, build_unmixed
from jepakit.data.sources.source import Box, BrokenPicture, Picture, Sample, Source, Stored


class Mixed(Source):
    """The pictures of all sources one after the other, named `0/…`, `1/…` by their source.

    Classes of the same name are one class; tasks are those that all sources have in common. An
    epoch (`order`) takes from every source its share, from where the epoch before left off, so
    that all its pictures are seen equally often. Every source keeps its own order, which may be
    quick to read; what is mixed is when its turn comes.
    """

    class Part(FrozenSettings):
        """One of the sources, and how much of an epoch comes from it."""

        source: Unmixed = Field(description="any kind but mixed")
        weight: float = Field(default=1.0, gt=0, description="share of an epoch, beside the others")

    class Settings(FrozenSettings):
        """Which sources are mixed, and how long an epoch is."""

        kind: Literal["mixed"] = "mixed"
        sources: tuple[Mixed.Part, ...] = Field(
            description="list of {source: {kind: …}, weight: …}"
        )
        pictures: int | None = Field(
            default=None, ge=1, description="pictures per epoch; null = as many as there are"
        )

        @field_validator("sources")
        @classmethod
        def _some(cls, sources: tuple[Mixed.Part, ...]) -> tuple[Mixed.Part, ...]:
            if not sources:
                raise ValueError("list at least one source, as {source: {kind: …}, weight: …}")
            return sources

    def __init__(self, settings: Settings) -> None:
        self._sources = [build_unmixed(part.source) for part in settings.sources]
        self.num_channels = _common_channels(self._sources)
        self.reads_in_order = any(source.reads_in_order for source in self._sources)
        lengths = [len(source) for source in self._sources]
        self._ends = np.cumsum(lengths).tolist()
        self._per_epoch = settings.pictures or len(self)
        weights = [part.weight for part in settings.sources]
        self._shares = share_out(weights, self._per_epoch)
        names = [name for source in self._sources for name in source.classes]
        self.classes = tuple(dict.fromkeys(names))
        places = {name: place for place, name in enumerate(self.classes)}
        self._places = [[places[name] for name in source.classes] for source in self._sources]
        first = self._sources[0].tasks
        self.tasks = {
            name: classes
            for name, classes in first.items()
            if all(source.tasks.get(name) == classes for source in self._sources)
        }

    def __len__(self) -> int:
        return int(self._ends[-1])

    def sample(self, index: int) -> Sample:
        number, inner = self._find(index)
        with _named(number):
            found = self._sources[number].sample(inner)
        return Sample(found.picture, f"{number}/{found.name}", self.label(index))

    def open(self, index: int) -> Picture:
        number, inner = self._find(index)
        with _named(number):
            return _MixedPicture(self._sources[number].open(inner), number)

    def stored(self, index: int) -> Stored | None:
        number, inner = self._find(index)
        with _named(number):
            return self._sources[number].stored(inner)

    def name(self, index: int) -> str:
        number, inner = self._find(index)
        return f"{number}/{self._sources[number].name(inner)}"

    def label(self, index: int) -> int:
        number, inner = self._find(index)
        label = self._sources[number].label(inner)
        return self._places[number][label] if label >= 0 else -1

    def labels(self, index: int) -> dict[str, int | float]:
        """The answers to the tasks that all sources have."""
        if not self.tasks:
            return {}
        number, inner = self._find(index)
        answers = self._sources[number].labels(inner)
        return {name: answers[name] for name in self.tasks}

    def fingerprint(self) -> str:
        """Changes with the sources' own, and with their order."""
        held = " ".join(source.fingerprint() for source in self._sources)
        return hashlib.sha256(held.encode()).hexdigest()[:16]

    @property
    def pictures_per_epoch(self) -> int:
        return self._per_epoch

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
        """Every source's share of the epoch in that source's order, the sources' turns at random.

        A source's pictures come in endless rounds through all of them; no epoch is redrawn.
        """
        turns = generator(seed, "turns", epoch).permutation(
            np.repeat(np.arange(len(self._sources)), self._shares)
        )
        indices = np.empty(len(turns), np.int64)
        for number, (source, share) in enumerate(zip(self._sources, self._shares, strict=True)):
            own_seed = int(generator(seed, "source", number).integers(2**31))
            before = self._ends[number] - len(source)
            chosen = _rounds(source, own_seed, epoch * share, share)
            indices[turns == number] = before + chosen
        return indices

    def _find(self, index: int) -> tuple[int, int]:
        """Which source, and the place in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} does not exist: indices are 0 to {len(self) - 1}")
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number] - len(self._sources[number]))


Mixed.Settings.model_rebuild()


@contextmanager
def _named(number: int) -> Iterator[None]:
    """A broken picture is told by its name in the mixture."""
    try:
        yield
    except BrokenPicture as error:
        raise BrokenPicture(f"{number}/{error.name}", error.reason) from error


class _MixedPicture(Picture):
    """A picture of source `number`; what is wrong with it may only be seen when it is decoded."""

    def __init__(self, picture: Picture, number: int) -> None:
        self._picture, self._number = picture, number
        self.size = picture.size

    def pixels(self) -> UInt8[np.ndarray, "H W C"]:
        with _named(self._number):
            return self._picture.pixels()

    def crop(self, box: Box, at_least: tuple[int, int]) -> UInt8[np.ndarray, "h w C"]:
        with _named(self._number):
            return self._picture.crop(box, at_least)


def share_out(weights: Sequence[float], number: int) -> list[int]:
    """Whole shares in proportion to the weights that sum to the number: by largest remainder."""
    exact = np.array(weights) / sum(weights) * number
    shares = np.floor(exact).astype(int)
    largest = np.argsort(shares - exact, kind="stable")
    shares[largest[: number - shares.sum()]] += 1
    return shares.tolist()


def _rounds(source: Source, seed: int, start: int, number: int) -> np.ndarray:
    """Part of the endless walk through the source: round after round, each in a new order."""
    length = source.pictures_per_epoch
    first, last = start // length, (start + number - 1) // length
    walked = [source.order(seed, round_) for round_ in range(first, last + 1)] if number else []
    begin = start - first * length
    return np.concatenate([np.zeros(0, np.int64), *walked])[begin : begin + number].astype(int)


def _common_channels(sources: Sequence[Source]) -> int:
    channels = [source.num_channels for source in sources]
    if len(set(channels)) > 1:
        raise ValueError(
            f"the mixed sources have {', '.join(map(str, channels))} channels: give all of them "
            f"the same, e.g. channels: {max(channels)}"
        )
    return channels[0]
