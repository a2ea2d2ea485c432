"""Pictures of which some are stored as files and the others as arrays, as collections hold them."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import UInt8

from jepakit.data.sources.decoding import Decoding
from jepakit.data.sources.picture_files import ARRAY_SUFFIX, SUFFIXES, open_picture
from jepakit.data.sources.source import Picture, Pixels, Sample, Source

_BEGINNINGS = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"\x93NUMPY": ARRAY_SUFFIX,
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".webp",
}


class FilesOrArrays(Source):
    """A source that hands out a file's content, or an array where `stored` gives None."""

    def __init__(self, settings: Decoding) -> None:
        self.settings = settings
        self.num_channels = settings.channels

    @abstractmethod
    def array(self, index: int) -> UInt8[np.ndarray, "H W C"]:
        """The pixels of a picture that is not stored as a file; raises `BrokenPicture`."""

    def open(self, index: int) -> Picture:
        stored = self.stored(index)
        if stored is None:
            return Pixels(self.array(index))
        return open_picture(stored, self.name(index), self.settings)

    def sample(self, index: int) -> Sample:
        pixels = np.require(self.open(index).pixels(), requirements=["C", "W"])
        return Sample(pixels, self.name(index), self.label(index))


def picture_suffix(path: str | None, content: bytes) -> str:
    """The kind of a picture's file, from its name or else from its first bytes."""
    suffix = PurePosixPath(path).suffix.lower() if path else ""
    if suffix in SUFFIXES:
        return suffix
    return next((kind for begin, kind in _BEGINNINGS.items() if content.startswith(begin)), "")
