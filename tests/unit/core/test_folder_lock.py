"""A folder's holder is obeyed while it lives, on whatever machine; a dead one is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from jepakit.core import folder_lock
from jepakit.core.folder_lock import folder_held


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "SECONDS_BETWEEN_BEATS", 0.02)
    monkeypatch.setattr(folder_lock, "SECONDS_TO_LISTEN", 0.4)


def record(folder: Path, beat: int = 1, **changes: object) -> None:
    known = {"host": "elsewhere", "pid": 7, "created": 1.0, "since": "yesterday", "beat": beat}
    beside = folder / "beside"
    beside.write_text(json.dumps(known | changes))
    os.replace(beside, folder / ".holder")  # never half-written


@contextmanager
def counting(folder: Path) -> Iterator[None]:
    """A run on another machine, as this one sees it: a count that grows."""
    stop = threading.Event()

    def count() -> None:
        beat = 1
        while not stop.wait(0.02):
            beat += 1
            record(folder, beat)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_the_holder_counts_while_it_lives_and_leaves_nothing(tmp_path: Path) -> None:
    with folder_held(tmp_path, "held"):
        first = json.loads((tmp_path / ".holder").read_text())
        assert first["host"] == socket.gethostname()
        assert first["pid"] == os.getpid()
        later = first
        while later["beat"] == first["beat"]:
            later = folder_lock._read(tmp_path / ".holder") or first
    assert not (tmp_path / ".holder").exists()


def test_a_run_on_another_machine_is_obeyed_while_it_counts(tmp_path: Path) -> None:
    record(tmp_path)
    told = r"held \(process 7 on elsewhere, since yesterday\)"
    with counting(tmp_path), pytest.raises(ValueError, match=told), folder_held(tmp_path, "held"):
        pass


def test_a_record_that_stands_still_is_of_a_run_that_died(tmp_path: Path) -> None:
    record(tmp_path, since="2099-01-01")  # clocks are not asked
    with folder_held(tmp_path, "held"):
        assert json.loads((tmp_path / ".holder").read_text())["host"] == socket.gethostname()


def test_a_living_process_of_this_machine_is_obeyed_without_a_lock(tmp_path: Path) -> None:
    parent = psutil.Process(os.getppid())
    here = {"host": socket.gethostname(), "pid": parent.pid}
    record(tmp_path, **here, created=parent.create_time())
    with pytest.raises(ValueError, match="held"), folder_held(tmp_path, "held"):
        pass
    record(tmp_path, **here, created=parent.create_time() - 60)  # its number was another's before
    with folder_held(tmp_path, "held"):
        pass


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_record_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    record(tmp_path, host=socket.gethostname(), pid=gone)
    with folder_held(tmp_path, "held"):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "a"}', "\udcff"])
def test_a_record_that_cannot_be_read_holds_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / ".holder").write_bytes(content.encode("utf-8", "surrogateescape"))
    with folder_held(tmp_path, "held"):
        pass


def test_a_killed_process_that_nobody_collected_does_not_count(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "100"])
    process = psutil.Process(child.pid)
    here = {"host": socket.gethostname(), "pid": child.pid}
    record(tmp_path, **here, created=process.create_time())
    try:
        with pytest.raises(ValueError, match="held"), folder_held(tmp_path, "held"):
            pass
        child.kill()
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        with folder_held(tmp_path, "held"):
            assert json.loads((tmp_path / ".holder").read_text())["pid"] == os.getpid()
    finally:
        child.kill()
        child.wait()


def test_patience_outlasts_a_holder_that_is_ending(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "0.5"])
    here = {"host": socket.gethostname(), "pid": child.pid}
    record(tmp_path, **here, created=psutil.Process(child.pid).create_time())
    try:
        with pytest.raises(ValueError, match="held"), folder_held(tmp_path, "held"):
            pass
        with folder_held(tmp_path, "held", patience=30.0):
            assert json.loads((tmp_path / ".holder").read_text())["pid"] == os.getpid()
    finally:
        child.wait()
