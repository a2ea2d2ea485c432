"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from jepakit.core.errors import RunFailed

_SECONDS_BETWEEN_TRIES = 0.02
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; renamed to `path` on success, removed on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        flush_to_disk(beside)
        os.replace(beside, path)
        flush_to_disk(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def wait_for_lock(file: IO[Any]) -> None:
    """Lock a file for this process; returns when no other process has it.

    When threads of two processes wait for files of each other's, the kernel calls it a deadlock;
    here other threads hold them, and will let go: it is tried again.
    """
    import fcntl

    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno != errno.EDEADLK:
                raise
            time.sleep(_SECONDS_BETWEEN_TRIES)
        else:
            return


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def held(lock: Path, refusal: str) -> Iterator[IO[str]]:
    """Hold a lock file; `ValueError(refusal)` if another process does. A killed one lets go."""
    import fcntl  # not on Windows

    with lock.open("a+") as file:
        try:
            # Not flock: that one would be inherited, and held on, by worker processes that outlive
            # a killed one for some seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise ValueError(refusal) from None
        yield file


@contextmanager
def told_if_full(folder: Path) -> Iterator[None]:
    """`RunFailed` with one sentence where writing into the folder fails for want of room."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise RunFailed(
            f"there is no room left for {folder}: free some, then the same command goes on from "
            "what is finished"
        ) from error


def _umask() -> int:
    """The process's own; reading it means setting it for a moment."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def flush_to_disk(path: Path) -> None:
    """Return only when the file's (or folder's) content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The file's SHA-256 as hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def made_in(folder: Path) -> None:
    """Make the folder if need be. `ValueError` if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise ValueError(
            f"nothing can be written into {folder} ({error.strerror}): choose another place"
        ) from None


@contextmanager
def folder_beside(final: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder beside `final` in which to prepare it, under its own name.

    On success everything in it moves to where `final` is, on failure all is as it was.
    `ValueError` if something is there already, unless it may be replaced.
    """
    if final.exists() and not overwrite:
        raise ValueError(f"{final} is there already: choose another place, or add --overwrite")
    made_in(final.parent)
    beside = final.with_name(f".{final.name}.{os.getpid()}.part")
    old = beside.with_suffix(".old")
    try:
        beside.mkdir()
        yield beside
        if final.is_dir():
            os.replace(final, old)
        for path in sorted(beside.rglob("*"), reverse=True):
            path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())  # some writers use 0600
        for path in sorted(beside.iterdir()):
            os.replace(path, final.parent / path.name)
        flush_to_disk(final.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
