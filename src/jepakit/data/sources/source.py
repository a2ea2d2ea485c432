"""The contract of picture sources: an indexed collection of pictures, perhaps with labels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8


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


class Source(ABC):
    """Pictures by index. Reading the same index twice gives the same sample, in any process."""

    num_channels: int
    classes: tuple[str, ...] = ()  # names of the labels; empty = unlabelled
    tasks: Mapping[str, tuple[str, ...]] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Number of pictures."""

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """Decode picture `index`; raises `BrokenPicture` if that is not possible."""

    @abstractmethod
    def name(self, index: int) -> str:
        """The picture's name, without decoding it."""

    @abstractmethod
    def label(self, index: int) -> int:
        """The picture's label, without decoding it; -1 = unlabelled."""

    def labels(self, index: int) -> dict[str, int | float]:
        """The picture's answers to all `tasks`, and perhaps quantities; empty without tasks."""
        return {}

    @abstractmethod
    def fingerprint(self) -> str:
        """A short hash of what the source holds, to notice that data changed under a run."""
