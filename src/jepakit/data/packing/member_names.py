"""Names of the members of a shard: safe, unique, and grouped as WebDataset expects it."""

from __future__ import annotations

import hashlib
import os
import re

import numpy as np

from jepakit.data.sources.picture_files import SUFFIXES
from jepakit.data.sources.source import Source

# Surrogates stand for bytes that are not UTF-8; "~" parts a name from a number, below.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\~\ud800-\udfff]")


class Keys:
    """The key of every picture: its name without suffix; alike ones get their index appended."""

    def __init__(self, source: Source) -> None:
        self._source = source
        hashes = np.fromiter(
            (_hash(safe(source.name(i))) for i in range(len(source))), np.uint64, len(source)
        )
        values, counts = np.unique(hashes, return_counts=True)
        self._shared = frozenset(values[counts > 1].tolist())

    def __getitem__(self, index: int) -> str:
        key = safe(self._source.name(index))
        return f"{key}~{index}" if self._shared and _hash(key) in self._shared else key


def split(name: str) -> tuple[str, str]:
    """A picture's name as stem and suffix; what no picture file ends with is no suffix."""
    stem, suffix = os.path.splitext(name)
    return (stem, suffix) if suffix.lower() in SUFFIXES else (name, "")


def safe(name: str) -> str:
    """The stem, as a relative path with nothing hidden and no dot at last: `./a/b.c` -> `a/b_c`."""
    stem, _ = split(name)
    parts = [part for part in stem.split("/") if part not in ("", ".", "..")] or ["_"]
    folders = [f"_{part[1:]}" if part.startswith(".") else part for part in parts[:-1]]
    return _UNSAFE.sub("_", "/".join([*folders, parts[-1].replace(".", "_")]))


def _hash(key: str) -> int:
    digest = hashlib.blake2b(key.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
