"""Walks over the members of a tar file by their headers, and refuses what is no plain file."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

Progress = Callable[[int, int], None]  # (bytes done, bytes in all)

_LONGEST_HEADER = 1 << 20  # bytes that a name or other extension of a header may take
_BLOCK = 512
_ENDS_TOO_EARLY = ("unexpected end of data", "empty header", "truncated header")  # of `tarfile`
_MEMBERS_PER_TICK = 1000
_COMPRESSED = {
    **{b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"},
    b"PK\x03\x04": "zip",
}


class Member(NamedTuple):
    """A plain file in a tar: where its content lies, in bytes."""

    name: str  # without a leading "./"
    offset: int
    size: int


class CutTar(ValueError):
    """A tar file that ends before its end mark; the members before the cut were whole."""


def walk_tar(
    file: Path, progress: Progress | None = None, called: str | None = None
) -> Iterator[Member]:
    """The files in a tar, in its order; only headers are read, contents are passed over.

    Folders are left out. Raises `CutTar` after the last whole member of a file that was cut off,
    and `ValueError` for a file that is damaged or is no tar, and for links, devices, and names
    that lead out of a folder. Errors name the file by its path, or as it is `called`.
    """
    place = called or str(file)
    with _Headers(file) as headers:
        length = headers.seek(0, io.SEEK_END)
        headers.seek(0)
        _check_start(place, headers.read(_BLOCK))
        headers.seek(0)
        try:
            with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8") as tar:
                yield from _walk(place, tar, length, progress)
                _check_end(place, headers, tar.offset)
        except tarfile.TarError as error:
            if str(error) in _ENDS_TOO_EARLY:
                raise _cut(place) from None
            raise ValueError(f"{place} is damaged ({error}): get it anew") from None


class _Headers(io.FileIO):
    """A file of which no more is read at once than a header can need."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


def _walk(
    place: str, tar: tarfile.TarFile, length: int, progress: Progress | None
) -> Iterator[Member]:
    for number, header in enumerate(tar):
        vars(tar)["members"] = []  # it would keep them all
        if number % _MEMBERS_PER_TICK == 0 and progress:
            progress(header.offset, length)
        if header.isdir():
            continue
        _check_kind(place, header)
        if header.offset_data + header.size > length:
            raise _cut(place)
        yield Member(_clean_name(place, header.name), header.offset_data, header.size)


def _check_start(place: str, start: bytes) -> None:
    if not start:
        raise ValueError(f"{place} is empty: get it anew")
    for magic, kind in _COMPRESSED.items():
        if start.startswith(magic):
            raise ValueError(
                f"{place} is compressed ({kind}), so its pictures cannot be read in place: "
                "decompress it to a plain .tar, or unpack it and use `jepa pack`"
            )


def _check_end(place: str, headers: io.FileIO, end: int) -> None:
    """`tarfile` takes a cut or a damaged header for the end; the true end is a block of zeros."""
    headers.seek(end)
    block = headers.read(_BLOCK)
    if len(block) < _BLOCK:
        raise _cut(place)
    if block.strip(b"\0"):
        raise ValueError(f"{place} is damaged at byte {end} (no valid header): get it anew")


def _check_kind(place: str, header: tarfile.TarInfo) -> None:
    if header.size < 0:
        raise ValueError(f"{place}: {header.name} claims {header.size} bytes: make the tar anew")
    if header.issym() or header.islnk():
        raise ValueError(
            f"{place}: {header.name} is a link to {header.linkname}: make the tar anew with the "
            "pictures themselves (tar --dereference --hard-dereference)"
        )
    if not header.isreg() or header.issparse():
        raise ValueError(f"{place}: {header.name} is no plain file: make the tar anew without it")


def _clean_name(place: str, name: str) -> str:
    parts = name.split("/")
    if "" in parts or "." in parts or ".." in parts:
        if name.startswith("/") or ".." in parts:
            raise ValueError(
                f"{place}: the name {name} leads out of the tar: make the tar anew with paths "
                "inside one folder"
            )
        return "/".join(part for part in parts if part not in ("", "."))
    return name


def _cut(place: str) -> CutTar:
    return CutTar(f"{place} is cut off")
