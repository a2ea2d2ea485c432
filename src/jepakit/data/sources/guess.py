"""From what was typed after --data to the source that reads it: a folder, a table, CLEVR, …"""

from __future__ import annotations

import re
from pathlib import Path

from jepakit.data.sources.clevr import Clevr
from jepakit.data.sources.clevr_files import PARTS, find_layout, find_parts
from jepakit.data.sources.image_folder import ImageFolder, find_splits
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.table import Table, table_parts

ALL = "all"  # the one part of a dataset that is not stored in parts
SCENES = "scenes"
GuessedSettings = Clevr.Settings | ImageFolder.Settings | ProceduralScenes.Settings | Table.Settings

_TABLE_SUFFIXES = frozenset({".csv", ".tsv"})


def guess_source(text: str | Path, channels: int = 3, split: str | None = None) -> GuessedSettings:
    """Settings of the source for a text; without `split`, of its training part if it has parts."""
    path = Path(text).expanduser()
    if text == SCENES and not path.exists():
        return ProceduralScenes.Settings()
    if path.suffix.lower() in _TABLE_SUFFIXES and not path.is_dir():
        return Table.Settings(path=path, channels=channels, split=split)
    if find_layout(path) is None:
        return ImageFolder.Settings(path=path, channels=channels, split=split)
    part = split or "train"
    if part not in PARTS:
        raise ValueError(f"CLEVR has no part {part!r}: set split to one of: {', '.join(PARTS)}")
    return Clevr.Settings(path=path, channels=channels, split=part)


def guess_parts(text: str | Path, channels: int = 3) -> dict[str, GuessedSettings]:
    """Settings of a dataset's labelled parts, e.g. "train" and "val"; of "all" without parts."""
    whole = guess_source(text, channels)
    names: list[str] = []
    if isinstance(whole, Table.Settings):
        names = table_parts(whole)
    elif isinstance(whole, Clevr.Settings):
        names = list(find_parts(whole.path))
    elif isinstance(whole, ImageFolder.Settings) and whole.path.is_dir():
        names = list(find_splits(whole.path))
    return {name: guess_source(text, channels, name) for name in names} or {ALL: whole}


def short_name(text: str | Path) -> str:
    """A name for the folder of what is made from these pictures: letters, digits, `_.-`."""
    last = Path(text).expanduser().resolve().name if "://" not in str(text) else str(text)
    last = re.split(r"[/:]", last.rstrip("/"))[-1]
    plain = re.sub(r"\.(csv|tsv|parquet|npy|npz|tar|json)$", "", last)
    plain = re.sub(r"[-_.]*\{[^}]*\}", "", plain)  # the numbers of shards
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", plain).strip("-.") or "pictures"
