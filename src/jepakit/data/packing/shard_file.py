"""One tar shard, written whole or not at all, the same bytes for the same pictures."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jepakit.core.files import flush_to_disk
from jepakit.data.packing.member_names import split
from jepakit.data.sources.pack_description import PackedShard
from jepakit.data.sources.source import Source, Stored
from jepakit.data.sources.tar_index import TarIndex

BLOCK = 512
END = bytes(2 * BLOCK)  # of an archive


@dataclass(frozen=True)
class PackedPicture:
    """A picture with what belongs to it: all that a shard holds of it."""

    key: str
    member: str  # the key with the suffix of the file
    name: str  # the member's, unless the key is not the picture's own name
    content: bytes
    label: int
    answers: dict[str, int | float]

    @staticmethod
    def of(source: Source, index: int, key: str, stored: Stored) -> PackedPicture:
        """A picture of a source; its suffix is spelled as in its name if it is the same."""
        stem, suffix = split(source.name(index))
        member = key + (suffix if suffix.lower() == stored.suffix else stored.suffix)
        return PackedPicture(
            key=key,
            member=member,
            name=member if key == stem else source.name(index),
            content=bytes(stored.content),
            label=source.label(index),
            answers=source.labels(index),
        )

    def archived(self) -> bytes:
        """As it lies in an archive: the picture, `.cls` if labelled, `.json` if more is known."""
        members = [(self.member, self.content)]
        if self.label >= 0:
            members.append((f"{self.key}.cls", b"%d" % self.label))
        known = {"name": self.name} if self.name != self.member else {}
        if known or self.answers:
            members.append((f"{self.key}.json", json.dumps({**known, **self.answers}).encode()))
        return b"".join(
            _header(name, len(content)) + content + bytes(-len(content) % BLOCK)
            for name, content in members
        )


def _header(name: str, size: int) -> bytes:
    """Without time and owner, so that packing twice gives the same file."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


class ShardWriter:
    """A shard that grows beside its place, and takes it when it is finished."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beside = path.with_name(f".{path.name}.part")
        self._digest = hashlib.sha256()
        self._pictures: list[PackedPicture] = []  # without their contents
        self._places: list[tuple[int, int]] = []  # offset and size of each content
        self.num_bytes = 0
        self._file = self._beside.open("wb")

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._places)

    def add(self, picture: PackedPicture, archived: bytes) -> None:
        """Append a picture, archived already."""
        header = len(_header(picture.member, len(picture.content)))
        self._places.append((self.num_bytes + header, len(picture.content)))
        self._pictures.append(replace(picture, content=b""))
        self._write(archived)

    def finish(self) -> PackedShard:
        """Close the archive and put it with its index into their places, on the disk."""
        self._write(END)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._beside, self._path)
        self._index().save(self._path.with_suffix(".npz"))
        flush_to_disk(self._path.parent)
        return PackedShard(
            file=self._path.name,
            num_pictures=len(self),
            bytes=self.num_bytes,
            sha256=self._digest.hexdigest(),
        )

    def discard(self) -> None:
        """Leave nothing of a shard that was not finished."""
        with suppress(OSError):  # it may still have something to write, and no room for it
            self._file.close()
        self._beside.unlink(missing_ok=True)

    def _index(self) -> TarIndex:
        pictures, places = self._pictures, np.array(self._places, np.int64)
        return TarIndex(
            names=[picture.name for picture in pictures],
            suffixes=[os.path.splitext(picture.member)[1].lower() for picture in pictures],
            offsets=places[:, 0],
            sizes=places[:, 1],
            labels=np.array([picture.label for picture in pictures], np.int64),
            answers={
                name: np.array([picture.answers[name] for picture in pictures])
                for name in pictures[0].answers
            },
        )

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.num_bytes += len(content)
