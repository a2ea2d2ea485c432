"""From a path to the source that reads it: a CSV table, CLEVR, or a folder of pictures."""

from __future__ import annotations

from pathlib import Path

from jepakit.data.sources.clevr import Clevr
from jepakit.data.sources.clevr_files import PARTS, find_layout, find_parts
from jepakit.data.sources.image_folder import ImageFolder, find_splits
from jepakit.data.sources.table import Table, table_parts

ALL = "all"  # the one part of a dataset that is not stored in parts
GuessedSettings = Clevr.Settings | ImageFolder.Settings | Table.Settings

_TABLE_SUFFIXES = frozenset({".csv", ".tsv"})


def guess_source(path: Path, channels: int = 3, split: str | None = None) -> GuessedSettings:
    """Settings of the source for a path; without `split`, of its training part if it has parts."""
    if path.suffix.lower() in _TABLE_SUFFIXES and not path.is_dir():
        return Table.Settings(path=path, channels=channels, split=split)
    if find_layout(path.expanduser()) is None:
        return ImageFolder.Settings(path=path, channels=channels, split=split)
    part = split or "train"
    if part not in PARTS:
        raise ValueError(f"CLEVR has no part {part!r}: set split to one of: {', '.join(PARTS)}")
    return Clevr.Settings(path=path, channels=channels, split=part)


def guess_parts(path: Path, channels: int = 3) -> dict[str, GuessedSettings]:
    """Settings of a dataset's labelled parts, e.g. "train" and "val"; of "all" without parts."""
    whole = guess_source(path, channels)
    names: list[str] = []
    if isinstance(whole, Table.Settings):
        names = table_parts(whole)
    elif isinstance(whole, Clevr.Settings):
        names = list(find_parts(path.expanduser()))
    elif path.expanduser().is_dir():
        names = list(find_splits(path.expanduser()))
    return {name: guess_source(path, channels, name) for name in names} or {ALL: whole}
