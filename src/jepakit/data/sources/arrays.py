"""Pictures in one array: a file mapped into memory, or an array that a Python program has."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Shaped
from pydantic import Field

from jepakit.data.sources.array_files import Layout, find_layout, read_arrays
from jepakit.data.sources.array_labels import as_classes, read_labels
from jepakit.data.sources.decoding import (
    SAY_THE_RANGE,
    Decoding,
    check_array,
    fingerprint_of_values,
    fit_array,
)
from jepakit.data.sources.source import BrokenPicture, Picture, Pixels, Sample, Source

_NUM_HASHED = 64  # pictures


class ArraySource(Source):
    """The rows of an array, in their order.

    Pictures of 8 bits that have the wanted channels are handed out where they lie, without a
    copy; others are converted when they are opened. Labels are whole numbers from 0, and -1 for
    unlabelled; or any others, which are sorted and become classes.
    """

    class Settings(Decoding):
        """Where the array is, and how its axes lie."""

        kind: Literal["arrays"] = "arrays"
        path: Path = Field(description=".npy (B H W C), or .npz with pictures and labels")
        split: str | None = Field(
            default=None, description='.npz: part to use, a word of its names: "train", "test"'
        )
        labels: Path | None = Field(
            default=None, description=".npy, or a text file with a label per line"
        )
        classes: tuple[str, ...] | None = Field(
            default=None, description="names of labels 0, 1, 2, …; null = the labels themselves"
        )
        layout: Layout = Field(default="auto", description="where the channels are in .npy, .npz")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._file: Path | None = settings.path.expanduser()
        labels = self._read_file()
        if settings.labels is not None:
            labels = read_labels(settings.labels.expanduser())
        self._describe(labels, settings.classes)

    @classmethod
    def of(
        cls,
        pictures: np.ndarray | torch.Tensor,
        labels: Sequence[int | str] | np.ndarray | torch.Tensor | None = None,
        classes: Sequence[str] | None = None,
        *,
        values: tuple[float, float] | None = None,
        layout: Layout = "auto",
    ) -> ArraySource:
        """A source of pictures in memory: B H W, B H W C or B C H W, which is not copied.

        Grey pictures stay grey. Worker processes that are forked share the array.
        """
        array = pictures.detach().cpu().numpy() if torch.is_tensor(pictures) else pictures
        wanted = 1
        if array.ndim == 4:
            wanted = array.shape[1] if _is_channels_first(array, layout) else array.shape[3]
        source = cls.__new__(cls)
        source._file = None
        source.settings = cls.Settings(
            path=Path("memory"), channels=wanted, values=values, layout=layout
        )
        source._take(array)
        given = labels.cpu().numpy() if torch.is_tensor(labels) else labels
        source._describe(
            None if given is None else np.asarray(given), tuple(classes) if classes else None
        )
        return source

    def reading(
        self, values: tuple[float, float] | None, channels: int | None = None
    ) -> ArraySource:
        """The same pictures, of which these values become black and white, in these channels."""
        source, wanted = copy(self), channels or self.num_channels
        source.settings = self.settings.model_copy(update={"values": values, "channels": wanted})
        source.num_channels = wanted
        return source

    def __len__(self) -> int:
        return self._length

    def sample(self, index: int) -> Sample:
        return Sample(self.open(index).pixels().copy(), self.name(index), self.label(index))

    def open(self, index: int) -> Picture:
        picture = self.stored_values(index)
        if picture.dtype == np.uint8 and picture.shape[2] == self.num_channels:
            return Pixels(picture)
        try:
            return Pixels(fit_array(picture, self.settings))
        except ValueError as error:
            raise BrokenPicture(self.name(index), str(error)) from error

    def stored_values(self, index: int) -> Shaped[np.ndarray, "H W C"]:
        """A picture before it becomes one of 8 bits."""
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} does not exist: indices are 0 to {len(self) - 1}")
        if self._pictures is None:
            self._read_file()
        assert self._pictures is not None
        return self._pictures[index]

    def name(self, index: int) -> str:
        return f"picture-{index:06d}"

    def label(self, index: int) -> int:
        return int(self._labels[index])

    def fingerprint(self) -> str:
        """Changes with shape, labels, and some of the pictures."""
        return fingerprint_of_values(self._fingerprint, self.settings)

    def __getstate__(self) -> dict[str, Any]:
        """Another process maps the file itself; an array that has no file travels."""
        return vars(self) if self._file is None else {**vars(self), "_pictures": None}

    def _read_file(self) -> np.ndarray | None:
        """Opens the pictures; returns the labels that lie beside them."""
        assert self._file is not None
        found = read_arrays(self._file, self.settings.split)
        self._take(found.pictures)
        return found.labels

    def _take(self, array: np.ndarray) -> None:
        """Sets `_pictures` to a view B H W C of the array, if its pictures can be used."""
        if array.ndim not in (3, 4) or 0 in array.shape:
            raise ValueError(
                f"an array of shape {list(array.shape)} holds no pictures: it must be B H W, "
                "B H W C or B C H W"
            )
        how = self.settings
        layout = find_layout(array.shape, how.layout, how.channels)
        if array.ndim == 3:
            array = array[..., None]
        elif layout == "channels_first":
            array = np.moveaxis(array, 1, 3)
        if how.values is None and array.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"{array.dtype} values have no fixed range: {SAY_THE_RANGE}")
        try:
            check_array(array.shape[1], array.shape[2], array.shape[3], how)
        except ValueError as error:
            is_large = "channels" not in str(error)
            advice = "" if is_large else f": set data.source.channels={array.shape[3]}"
            raise ValueError(f"{error}{advice}") from None
        if isinstance(array, np.memmap):
            array = array.view(np.ndarray)  # the same memory, whose parts are cheap to take
        self._pictures: np.ndarray | None = array
        self._length = len(array)
        self.num_channels = how.channels

    def _describe(self, labels: np.ndarray | None, names: tuple[str, ...] | None) -> None:
        """Sets labels, classes and fingerprint."""
        if labels is not None and labels.shape != (len(self),):
            raise ValueError(f"{labels.size} labels for {len(self)} pictures: give one for each")
        self._labels, self.classes = as_classes(labels, len(self), names)
        assert self._pictures is not None
        shape = (self._pictures.shape, str(self._pictures.dtype), self.classes)
        digest = hashlib.sha256(repr(shape).encode() + self._labels.tobytes())
        for index in np.linspace(0, len(self) - 1, _NUM_HASHED).astype(int):
            digest.update(self._pictures[index].tobytes())
        self._fingerprint = digest.hexdigest()[:16]


def _is_channels_first(array: np.ndarray, layout: Layout) -> bool:
    if layout == "auto" and not {array.shape[1], array.shape[3]} & {1, 3, 4}:
        return False
    return find_layout(array.shape, layout, 3) == "channels_first"
