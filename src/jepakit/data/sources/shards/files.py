"""Reads parts of shards: each process opens what it needs, and not too many at a time."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from jepakit.core.errors import RunFailed
from jepakit.data.sources.shards.cache import ShardCache
from jepakit.data.sources.shards.shard import Shard

_MOST_OPEN = 64


class ShardFiles:
    """The content of shards by number; remote ones come through the cache.

    `lengths` are the sizes of the tars in bytes when they were indexed, 0 where not known.
    """

    def __init__(self, shards: Sequence[Shard], lengths: Sequence[int], cache: ShardCache) -> None:
        self._shards, self._lengths, self._cache = shards, lengths, cache
        self._forget()

    def is_open(self, number: int) -> bool:
        """Whether this process reads the shard already."""
        return number in self._opened

    def read(self, number: int, offset: int, size: int) -> bytes:
        """The content; raises `RunFailed` if the shard cannot be read any more.

        It is not mapped into memory: whoever reads a mapped file that was cut is killed.
        """
        try:
            opened = self._open(number)  # held: another thread may make room for its own
            content = os.pread(opened.descriptor, size, offset)
        except OSError as error:
            raise self._gone(number, error.strerror) from error
        if len(content) < size:
            raise self._gone(number, "it became shorter")
        return content

    def _open(self, number: int) -> _Opened:
        with self._lock:
            return self._opened_last(number)

    def _opened_last(self, number: int) -> _Opened:
        if number in self._opened:
            self._opened.move_to_end(number)
            return self._opened[number]
        for other in [n for n, opened in self._opened.items() if opened.is_removed()]:
            del self._opened[other]  # its place on the disk is free only then
        if len(self._opened) >= _MOST_OPEN:
            self._opened.popitem(last=False)
        opened = _Opened(self._descriptor(number))
        length, expected = os.fstat(opened.descriptor).st_size, self._lengths[number]
        if expected and length != expected:
            raise self._gone(number, f"{length} bytes where it had {expected}")
        self._opened[number] = opened
        return opened

    def _descriptor(self, number: int) -> int:
        shard = self._shards[number]
        try:
            if shard.is_remote:
                return self._cache.open(shard)
            return os.open(shard.file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._gone(number, error.strerror) from error
        except ValueError as error:
            raise RunFailed(str(error)) from error

    def _gone(self, number: int, reason: str | None) -> RunFailed:
        return RunFailed(
            f"{self._shards[number].shown} cannot be read any more ({reason}): bring it back as it "
            "was, and the same command continues"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_opened", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        """Every process opens files itself, and its threads one after the other."""
        self._opened: OrderedDict[int, _Opened] = OrderedDict()
        self._lock = threading.Lock()


class _Opened:
    """A descriptor that is closed with this object."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def is_removed(self) -> bool:
        return os.fstat(self.descriptor).st_nlink == 0

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.descriptor)  # named above: at the end of a program `os` may be gone
