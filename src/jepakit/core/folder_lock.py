"""One run per folder: locked, and where locks are not seen, marked with a beating heart."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from jepakit.core.files import held

SECONDS_BETWEEN_BEATS = 5.0
SECONDS_TO_LISTEN = 16.0  # three beats: longer than a file server hides a change
_WIDTH = 512  # bytes; a record is written over itself, so that a full disk has room for it


@contextmanager
def folder_held(folder: Path, refusal: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a folder for one run; `ValueError` that says who holds it already.

    `patience`: seconds that the holder is given to let go. The kernel's lock decides on one
    machine. Between machines it may not be seen (NFS), so the holder writes its machine and process
    into a file, and counts there while it lives. A record of another machine that still counts is
    obeyed; one that stands still is of a run that died. Clocks are not compared: the machines' may
    differ, and jump.
    """
    holder = folder / ".holder"
    with ExitStack() as stack:
        _wait_for(lambda: stack.enter_context(_taken(folder, refusal)), patience)
        heart = _Heart(holder)
        heart.start()
        try:
            yield
        finally:
            heart.end()


@contextmanager
def _taken(folder: Path, refusal: str) -> Iterator[None]:
    """Lock a folder that no living run holds."""
    # Two files: closing any handle of a locked file, after reading it, would drop the lock.
    lock, holder = folder / ".lock", folder / ".holder"
    with held(lock, f"{refusal}{_named(holder)}"):
        record = _read(holder)
        if record is not None and _is_alive(holder, record):
            raise ValueError(f"{refusal}{_named(holder)}")
        yield


def _wait_for(take: Callable[[], None], patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            return take()
        except ValueError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(min(1.0, patience / 8))


def _is_alive(holder: Path, record: dict[str, Any]) -> bool:
    """Whether the run that left a record, and no lock that we see, still goes on."""
    if record["host"] == socket.gethostname():
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(record["pid"])
            # A killed process whose parent died first stays listed where nobody collects the dead
            # (a container's first process often does not).
            ended = process.status() == psutil.STATUS_ZOMBIE
            return not ended and bool(process.create_time() == record["created"])
        return False
    deadline = time.monotonic() + SECONDS_TO_LISTEN
    while time.monotonic() < deadline:
        time.sleep(min(1.0, SECONDS_TO_LISTEN / 8))
        if _read(holder) != record:
            return True
    return False


def _read(holder: Path) -> dict[str, Any] | None:
    """What the holder wrote; None if nobody holds the folder."""
    try:
        record = json.loads(holder.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return None
    known = isinstance(record, dict) and record.keys() >= {"host", "pid", "created", "beat"}
    return record if known else None


def _named(holder: Path) -> str:
    record = _read(holder)
    if record is None:
        return ""
    return f" (process {record['pid']} on {record['host']}, since {record.get('since', '?')})"


class _Heart(threading.Thread):
    """Counts in the holder's record while the run lives."""

    def __init__(self, holder: Path) -> None:
        super().__init__(name="folder-lock", daemon=True)
        self.holder, self.stop, self.count = holder, threading.Event(), 0
        self.record = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "created": psutil.Process().create_time(),
            "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        self.descriptor = os.open(holder, os.O_WRONLY | os.O_CREAT, 0o666)
        self.beat()

    def run(self) -> None:
        """Beat until told to stop."""
        while not self.stop.wait(SECONDS_BETWEEN_BEATS):
            with suppress(OSError):  # a full disk or a server away: the next beat tries again
                self.beat()

    def beat(self) -> None:
        """Write the record over the one before, one higher."""
        self.count += 1
        text = json.dumps({**self.record, "beat": self.count}).ljust(_WIDTH)
        os.pwrite(self.descriptor, text.encode(), 0)
        os.fsync(self.descriptor)

    def end(self) -> None:
        """Let go."""
        self.stop.set()
        self.join()
        os.close(self.descriptor)
        self.holder.unlink(missing_ok=True)
