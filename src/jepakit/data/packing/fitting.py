"""Finds the best form in which a dataset fits into a number of bytes, by trying it on a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from jepakit.core.byte_sizes import in_bytes
from jepakit.core.randomness import generator
from jepakit.data.packing.encoding import WITH_QUALITY, EncodedPictures, Encoding, Format
from jepakit.data.packing.member_names import safe
from jepakit.data.packing.shard_file import PackedPicture
from jepakit.data.sources.source import BrokenPicture, Source
from jepakit.data.workers import Workers

NUM_TRIED = 400  # pictures
QUALITIES = (75, 80, 85, 90, 95)  # of JPEG and WebP; below, blocks are seen
SIDES = (*range(32, 256, 8), *range(256, 512, 16), *range(512, 1024, 32), *range(1024, 4097, 128))

_CHUNK = 16
_DEVIATIONS = 2.5  # of the mean's error: one estimate in 160 is too low
_BYTES_BESIDE = 48, 4096, 4096  # a picture, a shard, a folder: indices and descriptions
Tell = Callable[[str], None]


class Fitting:
    """`choose` prefers the files as they are, then large pictures, then fine ones.

    What `asked` has, and the quality if `has_quality`, is not changed.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        asked: Encoding,
        has_quality: bool,
        shard_bytes: int,
        num_workers: int,
        tell: Tell,
    ) -> None:
        self._sources, self._asked, self._shard_bytes = list(sources), asked, shard_bytes
        self._num_workers, self._tell = num_workers, tell
        self._format = asked.format
        if asked.format == "keep":
            self._format = _small_format(sources[0].num_channels)
        has_quality |= self._format not in WITH_QUALITY
        self._qualities = (asked.quality,) if has_quality else QUALITIES
        self._places, self.num_pictures = _sample(sources)
        if asked.shorter_side:
            self._sides: Sequence[int | None] = (asked.shorter_side,)
        else:
            largest = self._largest_shorter_side()
            self._sides = (*(side for side in SIDES if side < largest), None)
        self._predictions: dict[Encoding, float] = {}

    def choose(self, most: int | float) -> Encoding:
        """The best encoding that takes at most so many bytes, by its `prediction`.

        Raises `ValueError` if there is none.
        """
        if self._asked.format == "keep" and self._fits(self._asked, most):
            return self._asked
        side = self._largest_side(most)
        chosen = self._encoding(side, self._qualities[0])
        for quality in self._qualities[1:]:
            finer = self._encoding(side, quality)
            if not self._fits(finer, most):
                break
            chosen = finer
        return chosen

    def prediction(self, encoding: Encoding) -> float:
        """Bytes of everything, almost certainly not more, as the sample says."""
        if encoding not in self._predictions:
            self._predictions[encoding] = found = self._measure(encoding)
            self._tell(f"{encoding.words()}: about {in_bytes(found)}")
        return self._predictions[encoding]

    def _fits(self, encoding: Encoding, most: int | float) -> bool:
        return self.prediction(encoding) <= most

    def _encoding(self, side: int | None, quality: int) -> Encoding:
        return Encoding(format=self._format, shorter_side=side, quality=quality)

    def _largest_side(self, most: int | float) -> int | None:
        """By bisection: larger pictures take more bytes."""
        coarsest = self._qualities[0]
        if self._fits(self._encoding(self._sides[-1], coarsest), most):
            return self._sides[-1]
        first, last = 0, len(self._sides) - 1  # `last` is too large
        if last == 0 or not self._fits(self._encoding(self._sides[0], coarsest), most):
            least = self._encoding(self._sides[0], coarsest)
            raise ValueError(
                f"even as {least.words()} these pictures take about "
                f"{in_bytes(self.prediction(least))}: allow that much with --max-bytes"
            )
        while last - first > 1:
            middle = (first + last) // 2
            fits = self._fits(self._encoding(self._sides[middle], coarsest), most)
            first, last = (middle, last) if fits else (first, middle)
        return self._sides[first]

    def _largest_shorter_side(self) -> int:
        largest = 0
        for part, index in self._places:
            with suppress(BrokenPicture):
                largest = max(largest, min(self._sources[part].open(index).size))
        return largest

    def _measure(self, encoding: Encoding) -> float:
        chunks = [self._places[i : i + _CHUNK] for i in range(0, len(self._places), _CHUNK)]
        workers = Workers(EncodedPictures(self._sources, encoding), chunks, self._num_workers)
        sizes = []
        try:
            files = [file for chunk in workers for file in chunk]
        finally:
            workers.close()
        for (part, index), file in zip(self._places, files, strict=True):
            if not isinstance(file, BrokenPicture):
                source = self._sources[part]
                name = source.name(index)
                picture = PackedPicture.of(source, index, safe(name), file)
                sizes.append(len(picture.archived()) + len(name.encode("utf-8", "replace")))
        if not sizes:
            raise ValueError(f"none of {len(files)} pictures can be read, e.g. {files[0]}")
        beside_picture, beside_shard, beside_folder = _BYTES_BESIDE
        unseen = 1 - len(sizes) / self.num_pictures  # no error where all were tried
        error = np.std(sizes) * (max(unseen, 0) / len(sizes)) ** 0.5
        each = np.mean(sizes) + _DEVIATIONS * error + beside_picture
        total = each * self.num_pictures
        shards = total / self._shard_bytes + len(self._sources)
        return float(total + shards * beside_shard + len(self._sources) * beside_folder)


def _small_format(num_channels: int) -> Format:
    """What takes little room and holds so many channels."""
    return {1: "jpeg", 3: "jpeg", 4: "webp"}.get(num_channels, "raw")  # type: ignore[return-value]


def _sample(sources: Sequence[Source]) -> tuple[list[tuple[int, int]], int]:
    """Random places (source, picture) in all sources together, and how many there are in all."""
    ends = np.cumsum([len(source) for source in sources])
    total = int(ends[-1])
    chosen = np.sort(generator(0, "fitting").choice(total, min(NUM_TRIED, total), replace=False))
    parts = np.searchsorted(ends, chosen, "right")
    indices = chosen - (ends - [len(source) for source in sources])[parts]
    return list(zip(parts.tolist(), indices.tolist(), strict=True)), total
