"""Pictures that are given to the page: bytes in memory, limited in size, read as files are."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from jepakit.data.sources.decoding import SAY_THE_RANGE, Decoding
from jepakit.data.sources.picture_files import SUFFIXES, open_picture
from jepakit.data.sources.source import BrokenPicture, Picture, Pixels, Stored

LARGEST_FILE = 20 * 1024**2  # bytes
LARGEST_PICTURE = 50_000_000  # pixels: 150 MB once decoded
_SHOWN_NAME = 60  # characters of a name in a message


def read_upload(
    given: Mapping[str, Any], channels: int, values: tuple[float, float] | None = None
) -> Picture:
    """A decoded picture from `name` and `content` (base64); nothing is written to disk.

    Of more than 8 bits, `values` become black and white.

    `ValueError` with one sentence for what is too large or no picture.
    """
    name = PurePath(str(given.get("name") or "the picture")).name[-_SHOWN_NAME:]
    content = _decoded(given.get("content"), name)
    how = Decoding(channels=channels, max_pixels=LARGEST_PICTURE, values=values)
    try:
        picture = open_picture(Stored(content, PurePath(name).suffix.lower()), name, how)
        return Pixels(picture.pixels().copy())  # decoded here, so that damage is told here
    except BrokenPicture as error:
        raise ValueError(f"{name} cannot be used: {_what_to_do(error.reason)}.") from error


def _decoded(content: object, name: str) -> bytes:
    if not isinstance(content, str) or not content:
        raise ValueError(f"{name} is empty: choose a picture.")
    if len(content) > 4 * LARGEST_FILE // 3 + 4:
        raise ValueError(
            f"{name} is too large: the studio takes files up to {LARGEST_FILE // 1024**2} MB."
        )
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name} did not arrive whole: drop it again.") from error


def _what_to_do(reason: str) -> str:
    if reason.startswith("not a picture"):
        kinds = ", ".join(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))
        return f"it is {reason}; these are known: {kinds}"
    if "decompression bomb" in reason:
        return f"it has more than {LARGEST_PICTURE // 10**6} million pixels; shrink it"
    return reason.removesuffix(f", or {SAY_THE_RANGE}")  # a browser names no range
