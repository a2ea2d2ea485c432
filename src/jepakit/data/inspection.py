"""Looks at the pictures of a source one by one: sizes, kinds of file, what is broken or twice."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from jepakit.core.randomness import generator
from jepakit.data.duplicates import Duplicate, Fingerprints, find_repeats, fingerprints, join
from jepakit.data.shrinking import resized
from jepakit.data.sources.decoding import decoding_of
from jepakit.data.sources.picture_files import read_values
from jepakit.data.sources.source import BrokenPicture, Source, Stored
from jepakit.data.workers import Workers, is_stopping

_CHUNK = 16  # pictures handed over at once
_SIDE = 64  # pixels of the square of which fingerprints are made
Place = tuple[int, int]  # source, picture
Progress = Callable[[int, int], None]  # (done, in all)


@dataclass(frozen=True)
class Seen:
    """What is remembered of a readable picture."""

    place: Place
    size: tuple[int, int]  # height, width
    kind: str  # "JPEG RGB", "NPY uint16 x 12", "PNG, broken header", …
    num_bytes: int  # of its file; of its pixels if it has none
    content: bytes  # hash of its file, or of its pixels
    is_grey: bool
    fingerprint: Fingerprints


@dataclass(frozen=True)
class Inspection:
    """What was found among the pictures of several sources."""

    seen: list[Seen]
    broken: dict[Place, BrokenPicture]

    def kinds(self) -> Counter[str]:
        """How many pictures are of each kind of file."""
        return Counter(picture.kind for picture in self.seen)

    def same_files(self) -> list[tuple[Seen, Seen]]:
        """Pictures whose file is, byte by byte, that of an earlier one, with that one."""
        first: dict[bytes, Seen] = {}
        pairs = [(picture, first.setdefault(picture.content, picture)) for picture in self.seen]
        return [(picture, earlier) for picture, earlier in pairs if picture is not earlier]

    def look_alikes(self) -> list[tuple[Seen, Seen]]:
        """Pictures that look like an earlier one, though their files differ, with that one."""
        if not self.seen:
            return []
        found: list[Duplicate] = find_repeats(join([p.fingerprint for p in self.seen]))
        pairs = [(self.seen[each.test], self.seen[each.train]) for each in found]
        return [
            (picture, earlier) for picture, earlier in pairs if picture.content != earlier.content
        ]


def inspect(
    sources: Sequence[Source],
    most: int,
    num_workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> Inspection:
    """Look at all pictures, or at a random choice of `most`; always the same one."""
    places = _choose(sources, most)
    chunks = [places[start : start + _CHUNK] for start in range(0, len(places), _CHUNK)]
    workers = Workers(_Looks(list(sources)), chunks, num_workers)
    seen: list[Seen] = []
    broken: dict[Place, BrokenPicture] = {}
    try:
        for place, found in zip(places, (each for chunk in workers for each in chunk), strict=True):
            if isinstance(found, BrokenPicture):
                broken[place] = found
            else:
                seen.append(found)
            progress(len(seen) + len(broken), len(places))
    finally:
        workers.close()
    return Inspection(seen, broken)


class _Looks(Dataset):
    def __init__(self, sources: list[Source]) -> None:
        self._sources = sources

    def __getitem__(self, places: list[Place]) -> list[Seen | BrokenPicture]:
        return [self._look(place) for place in places if not is_stopping()]

    def _look(self, place: Place) -> Seen | BrokenPicture:
        source, index = self._sources[place[0]], place[1]
        try:
            stored = source.stored(index)
            pixels = np.ascontiguousarray(source.open(index).pixels())
            kind = _kind(source, index, stored) if stored else _kind_of_array(source, index, pixels)
        except BrokenPicture as error:
            return error
        content = stored.content if stored else pixels.tobytes()
        small = torch.from_numpy(resized(pixels, (_SIDE, _SIDE))).permute(2, 0, 1)
        return Seen(
            place,
            (pixels.shape[0], pixels.shape[1]),
            kind,
            len(content),
            hashlib.blake2b(content, digest_size=16).digest(),
            bool((pixels == pixels[:, :, :1]).all()),
            fingerprints(small[None]),
        )


def _kind(source: Source, index: int, stored: Stored) -> str:
    """The file's format and mode, or the type and number of an array's channels."""
    if how := decoding_of(source):
        values = read_values(stored, source.name(index), how)
        if values is not None:
            return f"{stored.suffix[1:].upper()} {values.dtype} x {values.shape[2]}"
    with Image.open(io.BytesIO(stored.content)) as image:  # it was decoded: its header is known
        return f"{image.format} {image.mode}"


def _kind_of_array(source: Source, index: int, pixels: np.ndarray) -> str:
    held = source.stored_values(index)
    shown = pixels if held is None else held
    return f"{shown.dtype} x {shown.shape[2]}"


def _choose(sources: Sequence[Source], most: int) -> list[Place]:
    places = [(part, index) for part, source in enumerate(sources) for index in range(len(source))]
    if len(places) <= most:
        return places
    chosen = generator(0, "inspection").choice(len(places), most, replace=False)
    return [places[place] for place in np.sort(chosen)]
