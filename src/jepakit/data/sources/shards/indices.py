"""Finds the index of every shard: packed beside it, kept from earlier, or built now."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jepakit.core.errors import RunFailed
from jepakit.data.sources.progress import Tell, telling
from jepakit.data.sources.shards.cache import ShardCache, shard_key
from jepakit.data.sources.shards.download import Downloads
from jepakit.data.sources.shards.shard import Shard
from jepakit.data.sources.tar_index import TarIndex
from jepakit.data.sources.tar_scan import scan_tar

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardIndices:
    """Where indices are kept (None: nowhere) and how new ones are built."""

    folder: Path | None
    cache: ShardCache  # of remote shards
    downloads: Downloads
    answers: tuple[str, ...]  # what descriptions answer beside the label
    allow_cut: bool

    def load(self, shards: Sequence[Shard]) -> list[TarIndex]:
        """One index per shard; raises `ValueError` or `RunFailed`."""
        _check_files(shards)
        indices: list[TarIndex] = []
        with telling(f"indexing {len(shards)} tar files") as tell:
            for number, shard in enumerate(shards):
                part = _Part(tell, number, len(shards))
                index = self._beside(shard) or self._kept(shard) or self._build(shard, part)
                part(1, 1)
                _check(shard, index)
                indices.append(index)
        return indices

    def _beside(self, shard: Shard) -> TarIndex | None:
        """The index of a packed shard; None where it is not beside it."""
        if shard.packed is None:
            return None
        if not shard.is_remote:
            file = Path(shard.index_beside)
            return TarIndex.load(file) if file.exists() else None
        kept = self._kept(shard)
        content = None if kept else self.downloads.read_small(shard.index_beside)
        if content is None:
            return kept
        index = TarIndex.parse(content, shard.index_beside)
        self._keep(shard, index)
        return index

    def _kept(self, shard: Shard) -> TarIndex | None:
        file = self._file(shard)
        if file is None or not file.exists():
            return None
        try:
            return TarIndex.load(file)
        except ValueError as error:
            _log.warning("%s and is built anew", error)
            return None

    def _build(self, shard: Shard, progress: _Part) -> TarIndex:
        if not shard.is_remote:
            index = scan_tar(shard.file, progress, self.answers, self.allow_cut)
        else:
            index = self._build_remote(shard, progress)
        self._keep(shard, index)
        return index

    def _build_remote(self, shard: Shard, progress: _Part) -> TarIndex:
        descriptor = self.cache.open(shard)
        os.close(descriptor)
        if kept := self._kept(shard):  # another process was quicker
            return kept
        try:
            file = self.cache.path(shard)
            return scan_tar(file, progress, self.answers, self.allow_cut, shard.shown)
        except FileNotFoundError:
            raise RunFailed(
                f"{shard.shown} left the cache while it was read: set data.source.cache_bytes to "
                "more"
            ) from None

    def _keep(self, shard: Shard, index: TarIndex) -> None:
        file = self._file(shard)
        if file is None:
            return
        try:
            index.save(file)
        except OSError as error:
            _log.warning("the index of %s is not kept: %s", shard.shown, error)

    def _file(self, shard: Shard) -> Path | None:
        """Named by the shard's place, and for files on disk by their size and time as well."""
        if self.folder is None:
            return None
        known: tuple[object, ...] = (shard_key(shard), self.answers, self.allow_cut)
        if not shard.is_remote:
            path = shard.file.resolve()
            status = path.stat()
            known = (path, status.st_size, status.st_mtime_ns, *known[1:])
        return self.folder / f"{hashlib.sha256(repr(known).encode()).hexdigest()[:24]}.npz"


@dataclass(frozen=True)
class _Part:
    """The progress of one shard as a share of all."""

    tell: Tell
    number: int
    total: int

    def __call__(self, done: int, length: int) -> None:
        self.tell((self.number + done / max(length, 1)) / self.total)


def _check_files(shards: Sequence[Shard]) -> None:
    """Whether all that must be on disk is there."""
    missing = [shard for shard in shards if not shard.is_remote and not shard.file.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(shards)} tar files are missing, e.g. {missing[0].place}: "
            "bring them back, or set data.source.path to where they are"
        )


def _check(shard: Shard, index: TarIndex) -> None:
    """Whether the index is of this tar."""
    packed = shard.packed
    known = packed.bytes if packed else index.tar_bytes
    length = known if shard.is_remote else shard.file.stat().st_size
    end = int((index.offsets + index.sizes).max(initial=0))
    if end > length or (packed and (len(index), length) != (packed.num_pictures, packed.bytes)):
        raise ValueError(
            f"{shard.shown} is not the file that its index describes: copy it anew, or pack anew "
            "with `jepa pack`"
        )
