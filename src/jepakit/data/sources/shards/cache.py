"""A bounded folder of fetched shards on disk, shared by all processes of a machine."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jepakit.core.errors import RunFailed
from jepakit.core.files import wait_for_lock
from jepakit.data.sources.shards.download import Download, Downloads
from jepakit.data.sources.shards.shard import Shard

_KEPT, _PART, _LOCK = ".tar", ".part", ".lock"


class ShardCache:
    """Shards as files in `folder`, at most `max_bytes` together; what was used last stays.

    A file is there when it is whole. One process fetches a shard, others wait for it; a lock goes
    with the process that held it. A file that is removed stays readable where it is open.
    """

    def __init__(self, folder: Path, max_bytes: int, downloads: Downloads) -> None:
        self._folder, self.max_bytes, self._downloads = folder, max_bytes, downloads
        self._threads = _ThreadLocks()

    def open(self, shard: Shard) -> int:
        """A descriptor of the shard's file, fetched if it is not there.

        Raises `NotThere` and other `ValueError`s, or `RunFailed`.
        """
        while True:
            try:
                os.utime(self.path(shard))
                return os.open(self.path(shard), os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                self.fetch(shard)

    def path(self, shard: Shard) -> Path:
        """Where the shard is, if it is there: others may remove it."""
        return self._folder / (shard_key(shard) + _KEPT)

    def fetch(self, shard: Shard, wait: bool = True) -> None:
        """Make sure that the shard is there, as if it was used now.

        Without `wait` leave it alone if another process or thread is fetching it.
        """
        with _disk_errors_explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked(shard_key(shard), wait) as is_mine:
            if not is_mine:
                return
            try:
                os.utime(self.path(shard))
            except FileNotFoundError:
                self._downloads.fetch(shard, lambda download: self._keep(shard, download))

    def _keep(self, shard: Shard, download: Download) -> None:
        """Write a shard beside, check it, and rename it."""
        beside = self.path(shard).with_suffix(_PART)
        expected = shard.packed.bytes if shard.packed else download.length
        digest = hashlib.sha256()
        try:
            with _disk_errors_explained(self._folder), beside.open("wb"):
                self._make_room(shard, expected or 0)
            with beside.open("r+b", buffering=0) as file:
                for chunk in download.chunks():
                    digest.update(chunk)
                    with _disk_errors_explained(self._folder):
                        file.write(chunk)
                length = file.tell()
            _check(shard, length, digest.hexdigest())
            if expected is None:
                self._make_room(shard, 0)
            with self._locked("room", wait=True):  # who counts now counts it once
                os.replace(beside, self.path(shard))
        finally:
            beside.unlink(missing_ok=True)

    def _make_room(self, shard: Shard, needed: int) -> None:
        """Remove what was not used for longest, and what interrupted processes left behind.

        The shard's own file becomes as long as it will be, so that others count it from now on.
        """
        with self._locked("room", wait=True):
            own = self.path(shard).with_suffix(_PART)
            needed += own.stat().st_size
            if needed > self.max_bytes:
                raise ValueError(
                    f"{shard.shown} takes {needed} bytes: set data.source.cache_bytes to at "
                    f"least {2 * needed}"
                )
            others = [file for file in self._others(own) if file[2].suffix in (_KEPT, _PART)]
            total = needed + sum(size for _, size, _ in others)
            for _, size, file in sorted(others):
                if total > self.max_bytes and self._remove(file):
                    total -= size
            os.truncate(own, needed)

    def _others(self, own: Path) -> Iterator[tuple[int, int, Path]]:
        """When each file was last used, its size in bytes, and its path."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process was quicker
                    status = entry.stat()
                    if entry.name != own.name:
                        yield status.st_mtime_ns, status.st_size, Path(entry.path)

    def _remove(self, file: Path) -> bool:
        if file.suffix == _KEPT:
            file.unlink(missing_ok=True)
            return True
        with self._locked(file.stem, wait=False) as is_left_behind:
            if is_left_behind:
                file.unlink(missing_ok=True)
            return is_left_behind

    @contextmanager
    def _locked(self, key: str, wait: bool) -> Iterator[bool]:
        """Hold a lock between processes and threads; False if it is not free and `wait` is not."""
        lock = self._threads.of(key)
        if not lock.acquire(blocking=wait):
            yield False
            return
        try:
            with _disk_errors_explained(self._folder):
                file = (self._folder / (key + _LOCK)).open("a")
            with file:
                try:
                    # Not flock: that one would be inherited, and held on, by processes forked now.
                    if wait:
                        wait_for_lock(file)
                    else:
                        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except (BlockingIOError, PermissionError):
                    yield False
                else:
                    yield True
        finally:
            lock.release()


class _ThreadLocks:
    """One lock per key for the threads of this process: a fork begins with free ones."""

    def __init__(self) -> None:
        self._process, self._locks = 0, defaultdict[str, threading.Lock](threading.Lock)

    def of(self, key: str) -> threading.Lock:
        if self._process != os.getpid():
            self._process, self._locks = os.getpid(), defaultdict(threading.Lock)
        return self._locks[key]

    def __getstate__(self) -> dict[str, object]:
        return {"_process": 0, "_locks": None}


def shard_key(shard: Shard) -> str:
    """A file name for what lies at a place: another packing is another file."""
    content = shard.packed.sha256 if shard.packed else ""
    return hashlib.sha256(f"{shard.place} {content}".encode()).hexdigest()[:24]


def _check(shard: Shard, length: int, sha256: str) -> None:
    """Raises `OSError`, so that it is fetched again."""
    if length == 0:
        raise OSError("it is empty")
    if shard.packed and (length, sha256) != (shard.packed.bytes, shard.packed.sha256):
        raise OSError("its content is not what index.json says")


@contextmanager
def _disk_errors_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "make room there, or set data.source.cache to a folder on another disk"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunFailed(f"the disk of {folder} is full: {advice}; then run it again") from error
        raise RunFailed(f"{folder} cannot be written ({error.strerror}): {advice}") from error
