"""Pictures of any kind that a program has, one after the other, in the channels of a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from jepakit.data.sources.decoding import MODE_OF_CHANNELS, Decoding, fit_array, fit_upright
from jepakit.data.sources.picture_files import broken_if_it_fails, open_picture
from jepakit.data.sources.source import BrokenPicture, Picture, Pixels, Stored

# What Python users may give: one picture, a batch of them in one array, or an iterable of any.
PictureInput = Image.Image | str | os.PathLike[str] | np.ndarray | Tensor
PictureInputs = PictureInput | Iterable[Any]

_KINDS = "a PIL image, a path, a numpy array (H W C) or a tensor (C H W)"
_BATCH = 4  # axes
_FAR_BEYOND = 2.0


def views_of(
    given: PictureInputs,
    num_channels: int,
    view: Callable[[Picture], Tensor],
    values: tuple[float, float] | None = None,
) -> Iterator[Tensor]:
    """The view of every picture in turn; nothing is held, so that a generator may go on for long.

    Paths; images of PIL; numpy arrays H W or H W C; tensors H W or C H W; batches of either, B H W
    C or B C H W (B H W for a network of one channel); and iterables of all these, mixed. Arrays
    hold uint8, uint16, or floats from 0 to 1; with `values`, any, of which these become black and
    white, except uint8. Grey, colour and transparency are converted as in files. Raises
    `ValueError`, which names the picture.
    """
    how = Decoding(channels=num_channels, values=values)
    for number, one in enumerate(_one_by_one(given, num_channels)):
        name = str(one) if isinstance(one, str | os.PathLike) else f"picture {number}"
        try:
            with broken_if_it_fails(name):
                made = view(_open(one, how))
        except BrokenPicture as error:
            raise ValueError(f"{name} cannot be used: {error.reason}") from error
        yield made


def _one_by_one(given: Any, num_channels: int) -> Iterator[Any]:
    """Batches and iterables, and iterables within them, taken apart."""
    if isinstance(given, Image.Image | str | os.PathLike):
        yield given
    elif isinstance(given, np.ndarray) and given.dtype.kind in "OUS":  # paths, or images of PIL
        yield from _one_by_one(given.ravel().tolist(), num_channels)
    elif isinstance(given, np.ndarray | Tensor):
        yield from _pictures_of(given, num_channels)
    elif isinstance(given, Iterable) and not isinstance(given, bytes | dict):
        for inner in given:
            yield from _one_by_one(inner, num_channels)
    else:
        raise ValueError(f"a {type(given).__name__} is no picture: give {_KINDS}")


def _pictures_of(array: Any, num_channels: int) -> Iterable[Any]:
    """Those of a batch, their channels where `_open` looks for them; or the one that it is."""
    usable = _usable_channels(num_channels)
    if array.ndim == _BATCH:
        usual, other = (1, 3) if isinstance(array, Tensor) else (3, 1)
        is_other = array.shape[usual] not in usable and array.shape[other] in usable
        return (_moved(one, other - 1, usual - 1) for one in array) if is_other else array
    if array.ndim == 3 and num_channels == 1:
        is_stack = array.shape[2] not in usable and array.shape[0] not in usable - {1}
        return array if is_stack else [array]  # B H W
    return [array]


def _usable_channels(num_channels: int) -> set[int]:
    return {num_channels, *(MODE_OF_CHANNELS if num_channels in MODE_OF_CHANNELS else ())}


def _moved(one: Any, begin: int, end: int) -> Any:
    move = torch.movedim if isinstance(one, Tensor) else np.moveaxis
    return move(one, begin, end)


def _open(one: Any, how: Decoding) -> Picture:
    if isinstance(one, str | os.PathLike):
        return _open_file(Path(one).expanduser(), how)
    if isinstance(one, Image.Image):
        return Pixels(fit_upright(ImageOps.exif_transpose(one), how))
    shape = tuple(one.shape)
    if isinstance(one, Tensor):
        one = one.detach().cpu()
        one = one.float().numpy() if one.is_floating_point() else one.numpy()
        one = np.moveaxis(one, 0, -1) if one.ndim == 3 else one
        axes = "C H W"
    else:
        axes = "H W C"
    _check_axes(one, shape, axes, how.channels)
    if how.values is not None and one.dtype != np.uint8:
        _check_stored(one, how.values)
        return Pixels(fit_array(one, how))
    return Pixels(fit_array(_in_bytes(one), how.model_copy(update={"values": None})))


def _open_file(path: Path, how: Decoding) -> Picture:
    if path.is_dir():
        raise ValueError("it is a folder: give its files, e.g. sorted(folder.rglob('*.jpg'))")
    if not path.is_file():
        raise ValueError("there is no such file")
    return open_picture(Stored(path.read_bytes(), path.suffix.lower()), str(path), how)


def _check_axes(array: np.ndarray, shape: tuple[int, ...], axes: str, num_channels: int) -> None:
    """Refuses what could be taken for something else."""
    told = f"its shape {list(shape)} is not {axes}"
    if array.ndim not in (2, 3) or 0 in shape:
        raise ValueError(f"{told}: a picture has 2 or 3 axes, and a batch 4")
    if array.ndim == 2:
        return
    usable = _usable_channels(num_channels)
    found = array.shape[-1]
    if found in usable:
        return
    if axes == "H W C" and shape[0] in usable:
        raise ValueError(
            f"{told}: tensors are C H W, numpy arrays are H W C, use np.moveaxis(array, 0, -1), or "
            f"array[..., None] if these are {shape[0]} grey pictures"
        )
    if axes == "C H W" and shape[-1] in usable:
        raise ValueError(f"{told}: numpy arrays are H W C, tensors are C H W, use permute")
    raise ValueError(
        f"it has {found} channels and the network takes {num_channels}; grey pictures B H W are "
        "array[..., None]"
    )


def _check_stored(array: np.ndarray, values: tuple[float, float]) -> None:
    """Floats from 0 to 1 are no stored values where these reach far beyond: all would be black."""
    low, high = values
    if array.dtype.kind == "f" and high - low > _FAR_BEYOND and 0 < array.max() <= 1:
        raise ValueError(
            f"its numbers lie between 0 and 1, and stored values are expected, of which {low:g} "
            f"becomes black and {high:g} white: give those, uint8, or other values=(LOW, HIGH)"
        )


def _in_bytes(array: np.ndarray) -> np.ndarray:
    """Floats from 0 to 1 as 8 bits; 8 and 16 bits as they are."""
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype.kind != "f":
        raise ValueError(
            f"{array.dtype} values have no fixed range: give uint8 (0 to 255) or floats (0 to 1)"
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # false for NaN, too
        raise ValueError(
            f"its values lie between {low:g} and {high:g}, and floats must lie between 0 and 1: "
            "give them before they are normalised, or as uint8"
        )
    return np.rint(array * np.float32(255)).astype(np.uint8)
