"""The file `index.json` of a packed folder: what its shards hold, and of what they were made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jepakit.core.files import write_text

DESCRIPTION_FILE = "index.json"
_VERSION = 1


@dataclass(frozen=True)
class PackedShard:
    """One tar file of a packed folder; its `TarIndex` lies beside it as `.npz`."""

    file: str  # "shard-000000.tar"
    num_pictures: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class PackDescription:
    """A packed folder as a whole."""

    channels: int
    classes: tuple[str, ...]
    tasks: dict[str, tuple[str, ...]]
    quantities: tuple[str, ...]
    num_pictures: int
    source: str  # fingerprint of what was packed
    settings: dict[str, Any]  # with which it was packed
    shards: tuple[PackedShard, ...]

    def save(self, folder: Path) -> None:
        """Write `index.json`, whole or not at all."""
        content = {"version": _VERSION, **asdict(self)}
        write_text(folder / DESCRIPTION_FILE, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, file: Path) -> PackDescription:
        """What `save` wrote; raises `ValueError` if it is not that, or not whole."""
        try:
            return parse_description(file.read_bytes(), str(file))
        except OSError as error:
            raise ValueError(f"{file} cannot be read ({error.strerror})") from error


def is_description(content: bytes) -> bool:
    """Whether it means to be one: other programs write files of that name too."""
    try:
        parsed = json.loads(content)
    except ValueError:
        return False
    return isinstance(parsed, dict) and {"version", "shards", "num_pictures"} <= parsed.keys()


def parse_description(content: bytes, where: str) -> PackDescription:
    """What `PackDescription.save` wrote to `where`; raises `ValueError` if it is not that."""
    try:
        parsed = json.loads(content)
        if parsed.pop("version") != _VERSION:
            raise ValueError(f"it is not of version {_VERSION}")
        for name in ("classes", "quantities"):
            parsed[name] = tuple(parsed[name])
        parsed["tasks"] = {name: tuple(classes) for name, classes in parsed["tasks"].items()}
        parsed["shards"] = tuple(PackedShard(**shard) for shard in parsed["shards"])
        description = PackDescription(**parsed)
        if description.num_pictures != sum(shard.num_pictures for shard in description.shards):
            raise ValueError("its counts of pictures do not fit together")
        if any("/" in shard.file or "\\" in shard.file for shard in description.shards):
            raise ValueError("its shards lie elsewhere")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{where} does not describe a packed folder ({type(error).__name__}: {error}): pack "
            "it anew with `jepa pack`"
        ) from error
    return description
