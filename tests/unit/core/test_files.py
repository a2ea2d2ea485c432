"""Files are either whole or not there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jepakit.core.files import sha256, write_text, written_whole


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with written_whole(path) as beside:
        beside.write_text("content")
        assert not path.exists()
        assert beside.parent == path.parent
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old ä")

    def write_half() -> None:
        with written_whole(path) as beside:
            beside.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_half()
    assert path.read_text(encoding="utf-8") == "old ä"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"


def test_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    content = bytes(range(256)) * 20_000  # more than one piece
    path.write_bytes(content)
    assert sha256(path) == hashlib.sha256(content).hexdigest()


TWO_THREADS = """
import sys, threading, time
from pathlib import Path
from jepakit.core.files import wait_for_lock

own, other, ready, go = map(Path, sys.argv[1:])
file = own.open("a")
wait_for_lock(file)
ready.touch()
while not go.exists():
    time.sleep(0.01)
got = []

def wait():
    with other.open("a") as theirs:
        wait_for_lock(theirs)
        got.append(True)

thread = threading.Thread(target=wait)
thread.start()
time.sleep(0.3)
file.close()
thread.join()
assert got
"""


def test_threads_that_wait_for_each_others_processes_are_no_deadlock(tmp_path: Path) -> None:
    """The kernel refuses one of them: only this process's other thread would have let go."""
    a, b, go = tmp_path / "a", tmp_path / "b", tmp_path / "go"
    pairs = [(a, b, tmp_path / "ready-1"), (b, a, tmp_path / "ready-2")]
    both = [
        subprocess.Popen([sys.executable, "-c", TWO_THREADS, *map(str, (*pair, go))])
        for pair in pairs
    ]
    while not all(ready.exists() for _, _, ready in pairs):
        assert all(process.poll() is None for process in both)
        time.sleep(0.01)
    go.touch()
    assert [process.wait(timeout=20) for process in both] == [0, 0]
