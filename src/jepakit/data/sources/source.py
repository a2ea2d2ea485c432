"""The contract of picture sources: an indexed collection of pictures, perhaps with labels."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from jepakit.core.randomness import generator

_log = logging.getLogger(__name__)
Box = tuple[int, int, int, int]  # top, left, height, width


@lru_cache(maxsize=1000)
def tell_once(words: str) -> None:
    """Log what was found in the data; opened again, the same data have nothing new to tell."""
    _log.info("%s", words)


class BrokenPicture(Exception):
    """One picture cannot be read. The loader skips it, counts it and lists it in the run folder."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # crosses process borders
        return (BrokenPicture, (self.name, self.reason))


@dataclass(frozen=True)
class Sample:
    """A decoded picture, upright, with the source's number of channels."""

    picture: UInt8[np.ndarray, "H W C"]
    name: str  # unique within the source: a path relative to the folder, or "scene-000012"
    label: int = -1  # place in `source.classes`; -1 = unlabelled


@dataclass(frozen=True)
class Stored:
    """A picture as it is stored: the content of its file."""

    content: bytes
    suffix: str  # tells the kind of file: ".jpg", ".npy", …; lower case


class Picture(ABC):
    """An opened picture: its size is known, its pixels are decoded when they are asked for."""

    size: tuple[int, int]  # height, width in pixels, upright

    @abstractmethod
    def pixels(self) -> UInt8[np.ndarray, "H W C"]:
        """All of it; raises `BrokenPicture` if that is not possible."""

    def crop(self, box: Box, at_least: tuple[int, int]) -> UInt8[np.ndarray, "h w C"]:
        """The part within `box`, perhaps at a smaller scale, but not below `at_least`.

        `at_least` is the height and width to which the part will be resized. The same arguments
        give the same pixels. Raises `BrokenPicture`.
        """
        top, left, height, width = box
        return self.pixels()[top : top + height, left : left + width]


class Pixels(Picture):
    """A picture that is decoded already; it may be a view of memory that is only for reading."""

    def __init__(self, pixels: UInt8[np.ndarray, "H W C"]) -> None:
        self._pixels = pixels
        self.size = (pixels.shape[0], pixels.shape[1])

    def pixels(self) -> UInt8[np.ndarray, "H W C"]:
        return self._pixels


class Source(ABC):
    """Pictures by index. Reading the same index twice gives the same sample, in any process."""

    num_channels: int
    classes: tuple[str, ...] = ()  # names of the labels; empty = unlabelled
    tasks: Mapping[str, tuple[str, ...]] = {}
    reads_in_order = False  # whether pictures are slow to reach out of the order of an epoch

    @abstractmethod
    def __len__(self) -> int:
        """Number of pictures."""

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """Decode picture `index`; raises `BrokenPicture` if that is not possible.

        Raises `RunFailed` if not this picture but the source cannot be read any more.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """The picture's name, without decoding it."""

    @abstractmethod
    def label(self, index: int) -> int:
        """The picture's label, without decoding it; -1 = unlabelled."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A short hash of what the source hands out, to notice that data changed under a run."""

    def open(self, index: int) -> Picture:
        """Picture `index`, perhaps not decoded yet: who needs a part of it asks for that part."""
        return Pixels(self.sample(index).picture)

    def stored(self, index: int) -> Stored | None:
        """The file of picture `index` as it is; None where there is none: made up, or an array."""
        return None

    def stored_values(self, index: int) -> Shaped[np.ndarray, "H W C"] | None:
        """Picture `index` of an array before it becomes 8 bits; None for files and drawings."""
        return None

    def labels(self, index: int) -> dict[str, int | float]:
        """The picture's answers to all `tasks`, and perhaps quantities; empty without tasks."""
        return {}

    @property
    def pictures_per_epoch(self) -> int:
        """How many pictures `order` names."""
        return len(self)

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
        """The pictures of an epoch in the order of training: here, all of them shuffled.

        A function of its arguments alone, so that processes share an epoch without talking to
        each other, and a run that was stopped goes on at any place in it.
        """
        return generator(seed, "order", epoch).permutation(len(self))

    def some(self, most: int, seed: int, name: str) -> Int[np.ndarray, " N"]:
        """Up to so many different pictures at random, but quick to reach, for the named purpose."""
        if self.reads_in_order:
            return np.array(list(dict.fromkeys(self.order(seed, 0).tolist()))[:most], np.int64)
        return generator(seed, name).choice(len(self), min(most, len(self)), replace=False)
