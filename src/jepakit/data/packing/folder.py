"""A folder of shards: what lies where, how far its packing came, and what is damaged."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from jepakit.core.files import sha256, write_text
from jepakit.core.settings import Settings
from jepakit.data.packing.encoding import Encoding
from jepakit.data.sources.pack_description import DESCRIPTION_FILE, PackDescription, PackedShard

Progress = Callable[[int, int], None]  # (done, in all)


class Begun(Settings):
    """How far a packing came: `packing.json`, while it is not finished."""

    source: str
    settings: dict[str, Any]
    encoding: Encoding
    next: int = Field(default=0, description="first picture that is in no finished shard")
    shards: tuple[PackedShard, ...] = ()
    broken: dict[str, str] = Field(default={}, description="names and reasons")


class PackedFolder:
    """The files of one packed part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index = path / DESCRIPTION_FILE
        self._journal = path / "packing.json"
        self.broken_pictures = path / "broken_pictures.csv"

    def shard(self, number: int) -> Path:
        """Where a shard lies; its index lies beside it, as `.npz`."""
        return self.path / f"shard-{number:06d}.tar"

    def packed(self) -> PackDescription | None:
        """The description of a finished folder."""
        return PackDescription.load(self._index) if self._index.exists() else None

    def begun(self) -> Begun | None:
        """How far a packing came that is not finished."""
        if not self._journal.exists():
            return None
        try:
            return Begun.model_validate_json(self._journal.read_bytes())
        except ValidationError as error:
            raise ValueError(
                f"{self._journal} is damaged: remove {self.path} and pack again"
            ) from error

    def keep(self, begun: Begun) -> None:
        """Write down how far the packing came."""
        write_text(self._journal, begun.model_dump_json())

    def check_sizes(self, shards: Iterable[PackedShard]) -> None:
        """Raises `ValueError` if a finished shard is gone, or not of its size."""
        for shard in shards:
            file = self.path / shard.file
            if not file.exists() or file.stat().st_size != shard.bytes:
                raise ValueError(
                    f"{file} is not as it was packed: remove {self.path} and pack again"
                )

    def begin(self, begun: Begun) -> None:
        """Begin, or go on: nothing stays but the shards that are known to be finished."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.keep(begun)
        finished = {Path(shard.file).stem for shard in begun.shards}
        shards = [file for file in self.path.glob("*shard-*") if file.stem not in finished]
        half_written = self.path.glob(".*.part")
        for file in (self._index, self.broken_pictures, *shards, *half_written):
            file.unlink(missing_ok=True)

    def finish(self, description: PackDescription) -> None:
        """The last step: now the folder can be read."""
        description.save(self.path)
        self._journal.unlink(missing_ok=True)

    def list_broken(self, broken: Mapping[str, str]) -> None:
        """Write the list of broken pictures, if there are any."""
        if not broken:
            return
        with self.broken_pictures.open(
            "w", newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:
            csv.writer(file).writerows([("name", "reason"), *broken.items()])

    def num_broken(self) -> int:
        """How many pictures were left out."""
        if not self.broken_pictures.exists():
            return 0
        with self.broken_pictures.open(newline="", errors="surrogateescape") as file:
            return sum(1 for _ in csv.reader(file)) - 1

    def num_bytes(self) -> int:
        """Of all its files."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())

    def is_ours(self) -> bool:
        """Whether something was packed into it, or nothing is in it."""
        return self._index.exists() or self._journal.exists() or not visible_names(self.path)


def visible_names(path: Path) -> set[str]:
    """What is in a folder; nothing if it is not there."""
    if not path.exists():
        return set()
    return {file.name for file in path.iterdir() if not file.name.startswith(".")}


def verify(path: Path, progress: Progress = lambda done, total: None) -> dict[Path, str]:
    """The damaged shards of a packed folder or of its parts, and what is wrong with each.

    Raises `ValueError` if nothing finished was packed into `path`.
    """
    found = {folder: PackedFolder(folder).packed() for folder in (path, *sorted(path.glob("*/")))}
    shards = [(f / s.file, s) for f, packed in found.items() if packed for s in packed.shards]
    if not shards:
        raise ValueError(f"{path} holds no finished packing: there is no index.json in it")
    wrong: dict[Path, str] = {}
    done, total = 0, sum(shard.bytes for _, shard in shards)
    for file, shard in shards:
        if not file.exists():
            wrong[file] = "is missing"
        elif file.stat().st_size != shard.bytes:
            wrong[file] = f"has {file.stat().st_size} bytes instead of {shard.bytes}"
        elif sha256(file) != shard.sha256:
            wrong[file] = "has other content: its SHA-256 differs"
        done += shard.bytes
        progress(done, total)
    return wrong
