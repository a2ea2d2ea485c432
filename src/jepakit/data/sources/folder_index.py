"""Which pictures a folder holds: found once, kept in a cache, found anew when a folder changed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jepakit.data.sources.picture_files import SUFFIXES

_log = logging.getLogger(__name__)
_VERSION = 1
# A folder touched this shortly before it was read may change again under the same time stamp.
_SETTLING_SECONDS = 2.0
_NUM_COMPARED = 256  # pictures whose sizes are looked at again; all would take long over a network


class PackedNames:
    """Very many strings in two arrays: small, quick to send to workers, shared after a fork."""

    def __init__(self, names: list[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text = b"".join(encoded)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._text[start : self._ends[index]])


@dataclass(frozen=True)
class FolderIndex:
    """Paths relative to the folder (posix, sorted), file sizes in bytes, times of folders."""

    names: list[str]
    sizes: list[int]
    folder_times: dict[str, int]  # relative path of every folder -> modification time, ns


def index_folder(root: Path, cache: bool | Path) -> FolderIndex:
    """The pictures below `root`, from the cache if no folder changed since.

    `cache` is a folder, or True for `$JEPAKIT_CACHE/index` (default `~/.cache/jepakit/index`).
    A picture that was added or removed is noticed. One that was overwritten in place is if its size
    changed and it is among `_NUM_COMPARED`, spread over the folder.
    """
    if cache is False:
        return _scan(root)
    cache_folder = cache_root() / "index" if cache is True else cache
    digest = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()
    cache_file = cache_folder / f"{digest[:24]}.json"
    cached = _load(cache_file)
    if cached is not None and _is_current(root, cached):
        return cached
    now_ns = time.time_ns()
    index = _scan(root)
    if max(index.folder_times.values()) < now_ns - _SETTLING_SECONDS * 1e9:
        _store(index, cache_file)
    return index


def cache_root() -> Path:
    """Where this program keeps what it can rebuild."""
    chosen = os.environ.get("JEPAKIT_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "jepakit"


def _scan(root: Path) -> FolderIndex:
    found: list[tuple[str, int]] = []
    folder_times: dict[str, int] = {}
    for relative, entries in _walk(root, "", ()):
        folder_times[relative] = os.stat(root / relative).st_mtime_ns
        found += [(relative + entry.name, _size(entry)) for entry in entries]
    found.sort()
    names, sizes = [name for name, _ in found], [size for _, size in found]
    return FolderIndex(names, sizes, folder_times)


def _walk(
    root: Path, relative: str, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Every visible folder with its pictures; a link back to a folder above is not followed."""
    status = os.stat(root / relative)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(root / relative) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    yield relative, [entry for entry in visible if _is_picture(entry)]
    for entry in visible:
        if entry.is_dir():
            yield from _walk(root, f"{relative}{entry.name}/", (*above, here))


def _is_picture(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() not in SUFFIXES:
        return False
    # A link whose picture is gone is kept: it shall be reported as broken, not be forgotten.
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def _size(entry: os.DirEntry[str]) -> int:
    return entry.stat().st_size if entry.is_file() else 0


def _is_current(root: Path, index: FolderIndex) -> bool:
    some = np.linspace(0, len(index.names) - 1, min(len(index.names), _NUM_COMPARED)).astype(int)
    try:
        return all(
            os.stat(root / folder).st_mtime_ns == modified
            for folder, modified in index.folder_times.items()
        ) and all(_size_now(root / index.names[n]) == index.sizes[n] for n in some)
    except FileNotFoundError:
        return False


def _size_now(path: Path) -> int:
    """As `_size` has it: a link whose picture is gone is a picture of no bytes."""
    return path.stat().st_size if path.is_file() else 0


def _load(cache_file: Path) -> FolderIndex | None:
    try:
        stored = json.loads(cache_file.read_text(encoding="ascii"))
        if stored["version"] != _VERSION:
            return None
        index = FolderIndex(stored["names"], stored["sizes"], stored["folder_times"])
        if len(index.names) != len(index.sizes) or not index.folder_times:
            raise ValueError("names, sizes and folders do not fit together")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("the picture index %s is damaged (%s) and is built anew", cache_file, error)
        return None
    return index


def _store(index: FolderIndex, cache_file: Path) -> None:
    content = {"version": _VERSION, **vars(index)}
    beside = cache_file.with_suffix(f".{os.getpid()}.part")
    try:
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(content), encoding="ascii")
        os.replace(beside, cache_file)
    except OSError as error:
        _log.warning("the picture index is not kept: %s", error)
