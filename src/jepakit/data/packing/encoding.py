"""How one picture is written into a shard: as it is stored, or shrunk and encoded anew."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field
from torch.utils.data import Dataset

from jepakit.core.settings import Settings
from jepakit.data.shrinking import pixels_at_most, shrunk_size
from jepakit.data.sources.picture_files import open_picture
from jepakit.data.sources.source import BrokenPicture, Picture, Source, Stored
from jepakit.data.sources.stored import StoredSource
from jepakit.data.workers import is_stopping

Format = Literal["keep", "jpeg", "webp", "png", "raw"]
QUALITY = 90  # of JPEG and WebP, where nothing else is asked for
WITH_QUALITY = ("jpeg", "webp")

_SUFFIXES = {"jpeg": ".jpg", "webp": ".webp", "png": ".png", "raw": ".npy"}
_KINDS: dict[str, Format] = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "jpeg"),
    **{".webp": "webp", ".png": "png", ".npy": "raw"},
}
_CHANNELS: dict[str, tuple[int, ...]] = {"jpeg": (1, 3), "webp": (3, 4), "png": (1, 3, 4)}


class Encoding(Settings):
    """The form of the pictures in the shards.

    `keep` keeps the files; a picture that has to be shrunk is encoded as what it was (PNG where
    that is not JPEG or WebP), one without a file as PNG. Arrays of other channels become `raw`.
    """

    format: Format = Field(default="keep", description="raw = .npy, uint8, H W C")
    shorter_side: int | None = Field(default=None, ge=1, description="pixels; null = as it is")
    quality: int = Field(default=QUALITY, ge=1, le=100, description="of JPEG and WebP")
    check: bool = Field(default=True, description="decode kept pictures, to find broken ones")

    def words(self) -> str:
        """In one line, for people."""
        side = f"shorter side at most {self.shorter_side} px" if self.shorter_side else "full size"
        if self.format not in WITH_QUALITY:
            return f"{'as stored' if self.format == 'keep' else self.format}, {side}"
        return f"{self.format}, {side}, quality {self.quality}"


def check_channels(format: Format, num_channels: int) -> None:
    """Raises `ValueError` if that format cannot hold so many channels."""
    possible = _CHANNELS.get(format, (num_channels,))
    if num_channels not in possible:
        raise ValueError(
            f"{format} holds {' or '.join(map(str, possible))} channels and the pictures have "
            f"{num_channels}: use --format raw"
        )


def encode(source: Source, index: int, how: Encoding) -> Stored:
    """The file of picture `index` for a shard; raises `BrokenPicture`."""
    stored = source.stored(index)
    if stored is not None and how.format == "keep" and not (how.shorter_side or how.check):
        return stored
    picture = _opened(source, index, stored)
    is_shrunk = shrunk_size(picture.size, how.shorter_side) is not None
    if how.format == "keep" and stored is not None and not is_shrunk:
        if how.check:
            picture.pixels()
        return stored
    kind = _kept_kind(stored, source.num_channels) if how.format == "keep" else how.format
    content = _encode_pixels(pixels_at_most(picture, how.shorter_side), kind, how.quality)
    if stored is None or _KINDS.get(stored.suffix) != kind:
        return Stored(content, _SUFFIXES[kind])
    is_in_vain = kind in WITH_QUALITY and not is_shrunk and len(content) >= len(stored.content)
    return stored if is_in_vain else Stored(content, stored.suffix)


def _opened(source: Source, index: int, stored: Stored | None) -> Picture:
    """The picture, without reading its file a second time."""
    if stored is not None and isinstance(source, StoredSource):
        return open_picture(stored, source.name(index), source.settings)
    return source.open(index)


def _kept_kind(stored: Stored | None, num_channels: int) -> Format:
    kind = _KINDS.get(stored.suffix, "png") if stored else "png"
    return kind if num_channels in _CHANNELS.get(kind, (num_channels,)) else "raw"


def _encode_pixels(pixels: np.ndarray, kind: Format, quality: int) -> bytes:
    file = io.BytesIO()
    if kind == "raw":
        np.save(file, np.ascontiguousarray(pixels))
        return file.getvalue()
    image = Image.fromarray(
        np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    )
    options = {"jpeg": {"quality": quality, "optimize": True}, "webp": {"quality": quality}}
    image.save(file, kind, **options.get(kind, {}))
    return file.getvalue()


class EncodedPictures(Dataset):
    """A few pictures, encoded, by their places in several sources; a broken one gives its error."""

    def __init__(self, sources: list[Source], how: Encoding) -> None:
        self._sources, self._how = sources, how

    def __getitem__(self, places: list[tuple[int, int]]) -> list[Stored | BrokenPicture]:
        return [self._encode(*place) for place in places if not is_stopping()]

    def _encode(self, part: int, index: int) -> Stored | BrokenPicture:
        try:
            stored = encode(self._sources[part], index, self._how)
        except BrokenPicture as error:
            return error
        return Stored(bytes(stored.content), stored.suffix)  # a view would not reach the parent
