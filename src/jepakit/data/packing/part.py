"""Writes one source into one folder of shards, from wherever an earlier packing was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jepakit.core.errors import RunFailed
from jepakit.data.packing.encoding import EncodedPictures
from jepakit.data.packing.folder import Begun, PackedFolder, Progress
from jepakit.data.packing.member_names import Keys
from jepakit.data.packing.shard_file import END, PackedPicture, ShardWriter
from jepakit.data.sources.pack_description import PackDescription
from jepakit.data.sources.source import BrokenPicture, Source, Stored
from jepakit.data.workers import Workers

_CHUNK = 16  # pictures handed over at once


class TooLarge(Exception):
    """The pictures take more bytes than they may; so many of them took so many."""

    def __init__(self, num_pictures: int, num_bytes: int) -> None:
        super().__init__(f"{num_pictures} pictures take {num_bytes} bytes")
        self.num_pictures = num_pictures
        self.num_bytes = num_bytes


@dataclass(frozen=True)
class Limits:
    """What ends a packing before its end."""

    max_broken_share: float = 0.01
    num_bytes: int | None = None  # of the shards


class PartPacking:
    """`run` packs the pictures that are not packed yet."""

    def __init__(
        self, source: Source, folder: PackedFolder, begun: Begun, shard_bytes: int, limits: Limits
    ) -> None:
        self._source, self._folder, self._begun = source, folder, begun
        self._shard_bytes, self._limits = shard_bytes, limits
        self._broken = dict(begun.broken)
        self._keys = Keys(source)
        self._num_bytes = sum(shard.bytes for shard in begun.shards)
        self._num_pictures = sum(shard.num_pictures for shard in begun.shards)

    def run(self, num_workers: int, progress: Progress) -> PackDescription:
        """Raises `TooLarge`, and `RunFailed` for a full disk or too many broken pictures."""
        first, total = self._begun.next, len(self._source)
        pictures = EncodedPictures([self._source], self._begun.encoding)
        workers = Workers(pictures, Chunks(first, total), num_workers)
        self._shard = self._next_shard()
        try:
            for index, file in enumerate((file for chunk in workers for file in chunk), first):
                self._take(index, file)
                progress(index + 1, total)
            if len(self._shard):
                self._finish_shard(total)
        finally:
            workers.close()
            self._shard.discard()
            self._folder.list_broken(self._broken)
        return self._finish()

    def _take(self, index: int, file: Stored | BrokenPicture) -> None:
        if isinstance(file, BrokenPicture):
            self._broken[file.name] = file.reason
            self._judge_broken()
            return
        picture = PackedPicture.of(self._source, index, self._keys[index], file)
        archived = picture.archived()
        if (
            len(self._shard)
            and self._shard.num_bytes + len(archived) + len(END) > self._shard_bytes
        ):
            self._finish_shard(index)
            self._shard = self._next_shard()
        self._shard.add(picture, archived)
        self._num_bytes += len(archived)
        self._num_pictures += 1
        if self._limits.num_bytes is not None and self._num_bytes > self._limits.num_bytes:
            raise TooLarge(self._num_pictures, self._num_bytes)

    def _judge_broken(self) -> None:
        num, share = len(self._broken), self._limits.max_broken_share
        if num <= share * len(self._source):
            return
        name, reason = next(iter(self._broken.items()))
        raise RunFailed(
            f"{num} of {len(self._source)} pictures cannot be read (listed in "
            f"{self._folder.broken_pictures}), e.g. {name}: {reason}; repair them, or leave more "
            f"of them out with --max-broken-share above {share:g}"
        )

    def _next_shard(self) -> ShardWriter:
        return ShardWriter(self._folder.shard(len(self._begun.shards)))

    def _finish_shard(self, following: int) -> None:
        """`following` is the first picture that does not belong to it."""
        shard = self._shard.finish()
        shards = (*self._begun.shards, shard)
        news = {"shards": shards, "next": following, "broken": dict(self._broken)}
        self._begun = self._begun.model_copy(update=news)
        self._folder.keep(self._begun)

    def _finish(self) -> PackDescription:
        source, begun = self._source, self._begun
        if not begun.shards:
            raise RunFailed(f"there is nothing to pack: none of {len(source)} pictures can be read")
        packed = PackDescription(
            channels=source.num_channels,
            classes=source.classes,
            tasks=dict(source.tasks),
            quantities=tuple(name for name in source.labels(0) if name not in source.tasks),
            num_pictures=self._num_pictures,
            source=begun.source,
            settings={**begun.settings, "encoding": begun.encoding.model_dump(mode="json")},
            shards=begun.shards,
        )
        self._folder.finish(packed)
        return packed


@dataclass(frozen=True)
class Chunks:
    """The pictures of the only source, from `first` on, a few at a time."""

    first: int
    end: int

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for start in range(self.first, self.end, _CHUNK):
            yield [(0, index) for index in range(start, min(start + _CHUNK, self.end))]
