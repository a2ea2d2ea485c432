"""Turns a picture file of any common kind into an upright uint8 array of the wanted channels."""

import io
import re
import struct
import tokenize
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torchvision.io import ImageReadMode

from jepakit.data.sources.decoding import (
    MODE_OF_CHANNELS,
    SAY_THE_RANGE,
    Decoding,
    check_array,
    check_size,
    fit_array,
    fit_image,
    is_deep,
)
from jepakit.data.sources.source import Box, BrokenPicture, Picture, Pixels, Stored

ARRAY_SUFFIX = ".npy"
TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
SUFFIXES = TIFF_SUFFIXES | {
    *(ARRAY_SUFFIX, ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
}

# Only these decoders may see a file, whatever its name: others of PIL start foreign programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "PPM", "BMP", "GIF")
# The operators themselves, because torchvision's wrappers warn that they will be replaced one day.
_decode_jpeg_operator: Any = getattr(torch.ops.image, "decode_jpeg", None)
_decode_png_operator: Any = getattr(torch.ops.image, "decode_png", None)
_JPEG_MODES = {1: ImageReadMode.GRAY.value, 3: ImageReadMode.RGB.value}
_JPEG_SCALES = (8, 4)  # at a half, PIL takes as long as torchvision does for the whole
_ORIENTATION = 0x0112  # the EXIF tag
_FRAMES = (0xC0, 0xC1, 0xC2)  # markers of baseline, extended and progressive frames
_EXIF = 0xE1
# What the decoders raise on damaged files, found by feeding them damaged files.
_DECODING_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, ArithmeticError, TypeError),
    *(AttributeError, RuntimeError, struct.error, zlib.error, tokenize.TokenError, Warning),
    Image.DecompressionBombError,
)


def open_picture(stored: Stored, name: str, how: Decoding) -> Picture:
    """Open a file; grey, palette, CMYK, 16-bit, transparent and turned pictures are converted.

    One channel is luminance, three are RGB with transparency laid over white, four are RGBA; any
    other number needs a `.npy` or TIFF file of exactly that number. 16 bits are scaled to 8.
    Raises `BrokenPicture`, also where the header claims more than `max_pixels`.
    """
    with broken_if_it_fails(name):
        if stored.suffix == ARRAY_SUFFIX:
            return Pixels(fit_array(_read_npy(stored.content, how), how))
        if stored.suffix in TIFF_SUFFIXES and (how.channels not in MODE_OF_CHANNELS or how.values):
            return Pixels(fit_array(_read_tiff_stack(stored.content, how), how))
        return _open_image(stored, name, how)


def read_values(stored: Stored, name: str, how: Decoding) -> Shaped[np.ndarray, "H W C"] | None:
    """The values of a file of more than 8 bits, .npy or TIFF before they are converted, else None.

    Values without a fixed range need `how.values`, whichever. Raises `BrokenPicture`.
    """
    with broken_if_it_fails(name):
        if stored.suffix == ARRAY_SUFFIX:
            array = _read_npy(stored.content, how)
        elif stored.suffix in TIFF_SUFFIXES:
            array = _read_tiff_stack(stored.content, how)
        else:
            Image.MAX_IMAGE_PIXELS = how.max_pixels
            image = Image.open(io.BytesIO(stored.content), formats=_FORMATS)
            deep = _deep_pixels(image, stored.content)
            if deep is None:
                return None
            array = deep[:, :, :-1] if image.mode == "RGBA" else deep  # opacity is no colour
        return array.reshape(*array.shape[:2], -1)


@contextmanager
def broken_if_it_fails(name: str) -> Iterator[None]:
    """Whatever a decoder raises becomes `BrokenPicture`."""
    try:
        yield
    except _DECODING_ERRORS as error:
        raise BrokenPicture(name, _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a known format"
    first_line = re.sub(r"^\w+, \S+\.cpp:\d+, ", "", str(error).partition("\n")[0])
    return first_line or type(error).__name__


def _open_image(stored: Stored, name: str, how: Decoding) -> Picture:
    size = _plain_jpeg_size(stored.content)
    if size and how.channels in _JPEG_MODES and _decode_jpeg_operator:
        check_size(*size, how.max_pixels)
        return _Jpeg(stored.content, size, name, how.channels)
    Image.MAX_IMAGE_PIXELS = how.max_pixels  # PIL looks at its own limit before we see the size
    try:
        image = Image.open(io.BytesIO(stored.content), formats=_FORMATS)
    except UnidentifiedImageError:
        if stored.suffix not in TIFF_SUFFIXES:
            raise
        return Pixels(fit_array(_read_tiff_stack(stored.content, how), how))
    check_size(image.height, image.width, how.max_pixels)
    is_plain_jpeg = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
    if is_plain_jpeg and how.channels in _JPEG_MODES and _decode_jpeg_operator:
        # Orientations 5 to 8 lie on their side.
        is_turned = "exif" in image.info and image.getexif().get(_ORIENTATION, 1) >= 5
        size = (image.width, image.height) if is_turned else (image.height, image.width)
        return _Jpeg(stored.content, size, name, how.channels)
    deep = None if how.values is None else _deep_pixels(image, stored.content)
    if deep is not None:
        return Pixels(fit_array(deep, how))
    image.load()
    return Pixels(fit_image(ImageOps.exif_transpose(image), how.channels))


def _deep_pixels(image: Image.Image, content: bytes) -> Shaped[np.ndarray, "H W ..."] | None:
    """All bits of a picture that has more than 8, upright; None for others."""
    if is_deep(image):
        return np.asarray(ImageOps.exif_transpose(image))
    stored_as = [str(tile.args) for tile in getattr(image, "tile", [])]  # in PIL's words
    in_16_bits = image.format == "PNG" and stored_as and stored_as[0].endswith(";16B")
    if in_16_bits and _decode_png_operator:  # PIL would drop half of them
        encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        apply_orientation = True
        decoded = _decode_png_operator(encoded, ImageReadMode.UNCHANGED.value, apply_orientation)
        return decoded.permute(1, 2, 0).numpy()
    return None


def _plain_jpeg_size(content: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG file, grey or in colours, that cannot be turned; None: ask PIL.

    PIL would tell the same, but it takes as long as all the rest that is done in Python.
    """
    place = 2
    if content[:place] != b"\xff\xd8":
        return None
    while place + 9 < len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in _FRAMES:
            height = int.from_bytes(content[place + 5 : place + 7], "big")
            width = int.from_bytes(content[place + 7 : place + 9], "big")
            return (height, width) if content[place + 9] in (1, 3) else None
        if marker == _EXIF:
            return None
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return None


class _Jpeg(Picture):
    """A JPEG file, decoded when asked: at a quarter or an eighth where that is enough."""

    def __init__(self, content: bytes, size: tuple[int, int], name: str, channels: int) -> None:
        self._content, self.size, self._name, self._channels = content, size, name, channels

    def pixels(self) -> UInt8[np.ndarray, "H W C"]:
        """About 1.3 times as fast as PIL, and without holding Python's lock."""
        with broken_if_it_fails(self._name):
            encoded = torch.frombuffer(bytearray(self._content), dtype=torch.uint8)
            apply_orientation = True
            mode = _JPEG_MODES[self._channels]
            picture = _decode_jpeg_operator(encoded, mode, apply_orientation)
            return picture.permute(1, 2, 0).numpy()

    def crop(self, box: Box, at_least: tuple[int, int]) -> UInt8[np.ndarray, "h w C"]:
        top, left, height, width = box
        scale = next(
            (s for s in _JPEG_SCALES if height >= s * at_least[0] and width >= s * at_least[1]), 1
        )
        if scale == 1:
            return super().crop(box, at_least)
        small = self._shrunk(scale)
        top, left = round(top / scale), round(left / scale)
        height, width = round(height / scale), round(width / scale)
        return small[top : top + height, left : left + width]

    def _shrunk(self, scale: int) -> UInt8[np.ndarray, "h w C"]:
        """All of it at 1 / scale: libjpeg then computes fewer pixels from every 8 x 8 block."""
        with broken_if_it_fails(self._name):
            image = Image.open(io.BytesIO(self._content), formats=("JPEG", "MPO"))
            image.draft(None, (image.width // scale, image.height // scale))
            return fit_image(ImageOps.exif_transpose(image), self._channels)


def _read_npy(content: bytes, how: Decoding) -> np.ndarray:
    """The array within the content, without copying it."""
    start = 8 + (2 if content[6:7] == b"\x01" else 4)  # magic, version, length of the header
    length = int.from_bytes(content[8:start], "little")
    shape, in_columns, dtype = _npy_header(bytes(content[: start + length]))
    if len(shape) not in (2, 3):
        raise ValueError("a .npy picture is one array of shape H W, H W C or C H W")
    if how.values is None and dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"{dtype} values have no fixed range: store uint8 or uint16, or {SAY_THE_RANGE}"
        )
    # C H W, as many tools write bands: only where it cannot be taken for H W C.
    not_last = {how.channels, *MODE_OF_CHANNELS}
    is_first = len(shape) == 3 and shape[0] == how.channels and shape[2] not in not_last
    height, width, found = (*shape[1:], shape[0]) if is_first else (*shape, 1)[:3]
    check_array(height, width, found, how)
    flat = np.frombuffer(content, dtype, int(np.prod(shape)), offset=start + length)
    array = flat.reshape(shape, order="F" if in_columns else "C")
    return np.moveaxis(array, 0, 2) if is_first else array


@lru_cache(maxsize=64)  # it is Python's syntax: slow to read, and mostly the same
def _npy_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    file = io.BytesIO(header)
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _read_tiff_stack(content: bytes, how: Decoding) -> np.ndarray:
    """A TIFF file whose third axis, wherever it lies, holds the channels."""
    try:
        import tifffile
    except ImportError:
        raise ValueError("this TIFF file needs tifffile: pip install tifffile") from None
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        series = tiff.series[0]
        sizes = dict(zip(series.axes, series.shape, strict=True))
        others = [axis for axis in series.axes if axis not in "YX"]
        if not {"Y", "X"} <= sizes.keys() or len(others) > 1:
            raise ValueError(f"axes {series.axes} are not one picture with channels")
        found = sizes[others[0]] if others else 1
        check_array(sizes["Y"], sizes["X"], found, how)
        return series.asarray().transpose([series.axes.index(axis) for axis in ("Y", "X", *others)])
