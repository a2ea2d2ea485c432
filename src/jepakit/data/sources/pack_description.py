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
            content = json.loads(file.read_text(encoding="utf-8"))
            if content.pop("version") != _VERSION:
                raise ValueError(f"it is not of version {_VERSION}")
            for name in ("classes", "quantities"):
                content[name] = tuple(content[name])
            content["tasks"] = {name: tuple(c) for name, c in content["tasks"].items()}
            content["shards"] = tuple(PackedShard(**shard) for shard in content["shards"])
            description = cls(**content)
            if description.num_pictures != sum(s.num_pictures for s in description.shards):
                raise ValueError("its counts of pictures do not fit together")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"{file} does not describe a packed folder ({reason}): pack it anew with `jepa "
                "pack`"
            ) from error
        return description
