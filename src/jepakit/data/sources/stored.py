"""Pictures that are stored as files, wherever these lie: what such sources have in common."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jepakit.data.sources.decoding import Decoding
from jepakit.data.sources.picture_files import open_picture
from jepakit.data.sources.source import BrokenPicture, Picture, Sample, Source, Stored


class StoredSource(Source):
    """A source that hands out the content of files; decoding them is written once, here."""

    def __init__(self, settings: Decoding) -> None:
        self.settings = settings
        self.num_channels = settings.channels

    @abstractmethod
    def stored(self, index: int) -> Stored:
        """The file of picture `index`; raises `BrokenPicture` or `RunFailed`."""

    def open(self, index: int) -> Picture:
        return open_picture(self.stored(index), self.name(index), self.settings)

    def sample(self, index: int) -> Sample:
        pixels = np.require(self.open(index).pixels(), requirements=["C", "W"])
        return Sample(pixels, self.name(index), self.label(index))


def read_file(path: Path, name: str) -> Stored:
    """A picture file on disk."""
    try:
        return Stored(path.read_bytes(), path.suffix.lower())
    except OSError as error:
        raise BrokenPicture(name, error.strerror or str(error)) from error


def names_and_sizes(files: Iterable[tuple[str, int]], beside: bytes = b"") -> str:
    """A short hash of names, sizes in bytes, and what else is to be noticed."""
    digest = hashlib.sha256(beside)
    for name, size in files:
        digest.update(os.fsencode(name) + b"\0%d\0" % size)
    return digest.hexdigest()[:16]
