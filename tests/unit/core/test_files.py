"""Files are either whole or not there."""

from __future__ import annotations

import hashlib
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
