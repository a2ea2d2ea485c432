"""Arrays of pictures in `.npy` and `.npz` files: what they hold, and how their axes lie."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Layout = Literal["auto", "channels_last", "channels_first"]
_USUAL_CHANNELS = (1, 3, 4)
_TRAINING = "train"
_LABEL_WORDS = ("label", "target", "class", "y")


@dataclass(frozen=True)
class ArrayPair:
    """Pictures (B H W, B H W C or B C H W) and their labels (B), if there are any."""

    pictures: np.ndarray
    labels: np.ndarray | None


def read_arrays(file: Path, split: str | None) -> ArrayPair:
    """The arrays of a file; a `.npy` is mapped into memory and not read.

    In a `.npz` with parts, such as `train_images` and `test_images`, the part is `split`, and
    train without one. `ValueError` says what is wrong.
    """
    if not file.is_file():
        raise ValueError(f"there is no file {file}: set data.source.path to a .npy or .npz file")
    try:
        if file.suffix.lower() == ".npz":
            return _read_npz(file, split)
        if split is not None:
            raise _Wrong(f"{file} is one array without parts: leave out data.source.split")
        return ArrayPair(np.load(file, mmap_mode="r"), None)
    except _Wrong as error:
        raise ValueError(str(error)) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is not a .npy or .npz file of numbers: {error}") from None


def find_layout(shape: tuple[int, ...], layout: Layout, channels: int) -> Layout:
    """Where the channels of B H W, B H W C or B C H W lie; `ValueError` if that is not clear."""
    if layout != "auto" or len(shape) == 3:
        return "channels_last" if layout == "auto" else layout
    first, last = shape[1], shape[3]
    for wanted in ((channels,), _USUAL_CHANNELS):
        if last in wanted:
            return "channels_last"
        if first in wanted:
            return "channels_first"
    raise ValueError(
        f"pictures of shape {list(shape[1:])} do not have {channels} channels: set "
        f"data.source.channels={last} or {first}, and data.source.layout to channels_last or "
        "channels_first"
    )


class _Wrong(Exception):
    """A sentence that is complete."""


def _read_npz(file: Path, split: str | None) -> ArrayPair:
    shapes = _shapes(file)
    pictures = [key for key, shape in shapes.items() if len(shape) >= 3]
    part = split or (_TRAINING if len(pictures) > 1 else "")
    key = _choose_pictures(file, pictures, part)
    number = shapes[key][0]
    fitting = [k for k, shape in shapes.items() if shape in ((number,), (number, 1)) and part in k]
    fitting.sort(key=lambda name: not any(word in name.lower() for word in _LABEL_WORDS))
    with np.load(file) as arrays:
        labels = arrays[fitting[0]].reshape(-1) if fitting else None
        return ArrayPair(arrays[key], labels)


def _choose_pictures(file: Path, keys: list[str], part: str) -> str:
    if not keys:
        raise _Wrong(f"{file} holds no array of pictures (B H W or B H W C): save one in it")
    wanted = [key for key in keys if part in key]
    if len(wanted) != 1:
        raise _Wrong(
            f"{file} holds the arrays {', '.join(keys)}: set data.source.split to a word that "
            "only one of them has"
        )
    return wanted[0]


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays, without reading them."""
    shapes: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            with archive.open(name) as content:
                version = np.lib.format.read_magic(content)
                read = np.lib.format.read_array_header_1_0
                if version != (1, 0):
                    read = np.lib.format.read_array_header_2_0
                shapes[name.removesuffix(".npy")] = read(content)[0]
    return shapes
