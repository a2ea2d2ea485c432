"""Pictures named by a CSV or Parquet table: with classes, yes-no questions, or quantities."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from jepakit.data.sources.decoding import Decoding, fingerprint_of_values
from jepakit.data.sources.folder_index import PackedNames
from jepakit.data.sources.source import Stored
from jepakit.data.sources.stored import StoredSource, names_and_sizes, read_file
from jepakit.data.sources.table_cells import Cells, read_cells
from jepakit.data.sources.table_columns import Roles, Target, find_roles, read_target

_log = logging.getLogger(__name__)
_PART_NAMES = {"valid": "val", "validation": "val", "dev": "val"}


class Table(StoredSource):
    """The rows of a table, in their order.

    The class column gives `classes` and `label`, and without one a single column of classes does.
    Further columns are answered by `labels`: those of 0 and 1 are tasks with the classes no and
    yes, those of other numbers are the names in `quantities`, those of texts are tasks. Classes
    are those of the whole table, so that all parts agree on them. A table with nothing but a
    class column has no tasks, like a folder. In a table with parts and without `split`, the part
    is `train`.
    """

    class Settings(Decoding):
        """Where the table is, and what its columns mean; columns not given are guessed."""

        kind: Literal["table"] = "table"
        path: Path = Field(description="CSV file with a line of column names, or Parquet")
        folder: Path | None = Field(
            default=None, description="where the paths begin; null = the table's folder"
        )
        split: str | None = Field(default=None, description='part to use: "train", "val", …')
        picture_column: str | None = Field(default=None, description="paths of the pictures")
        split_column: str | None = Field(default=None, description="the part of each picture")
        label_column: str | None = Field(default=None, description="the class of each picture")
        target_columns: tuple[str, ...] | None = Field(
            default=None, description="columns of 0 and 1, of numbers, or of further classes"
        )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        cells = read_cells(settings.path.expanduser())
        roles = _find_roles(cells, settings)
        names = cells.column(roles.picture, "picture_column")
        _check_unique(cells, names)
        chosen = _choose_rows(cells, roles, settings.split)
        label, targets = _read_targets(cells, roles)
        _log.info("%s", _describe(cells, roles, label, targets))

        self.folder = (settings.folder or settings.path.parent).expanduser()
        self._names = PackedNames([names[row] for row in chosen])
        self.classes = label.classes if label else ()
        self._labels = np.array(label.values if label else [-1] * len(names), np.int64)[chosen]
        others = [target for target in targets if target is not label]
        asked = [label, *others] if label and others else others
        self.tasks = {target.name: target.classes for target in asked if target.classes}
        self.quantities = tuple(target.name for target in asked if not target.classes)
        self._answers = {target.name: np.array(target.values)[chosen] for target in asked}
        self._fingerprint = self._hash(_sizes(cells, names, chosen, self.folder))

    def __len__(self) -> int:
        return len(self._names)

    def stored(self, index: int) -> Stored:
        name = self.name(index)
        return read_file(self.folder / name, name)

    def name(self, index: int) -> str:
        """The path as the table has it."""
        return self._names[index]

    def label(self, index: int) -> int:
        return int(self._labels[index])

    def labels(self, index: int) -> dict[str, int | float]:
        """Places in the classes of `tasks`, and the numbers of `quantities`."""
        return {name: values[index].item() for name, values in self._answers.items()}

    def fingerprint(self) -> str:
        """Changes with names, sizes of files and labels, not with where they are."""
        return fingerprint_of_values(self._fingerprint, self.settings)

    def _hash(self, sizes: list[int]) -> str:
        held = repr((self.classes, list(self.tasks.items()), self.quantities)).encode()
        answers = [self._labels, *self._answers.values()]
        beside = held + b"".join(values.tobytes() for values in answers)
        return names_and_sizes(((self.name(i), size) for i, size in enumerate(sizes)), beside)


def table_parts(settings: Table.Settings) -> list[str]:
    """The parts that the table's split column names, e.g. train and val; empty without one."""
    cells = read_cells(settings.path.expanduser())
    roles = _find_roles(cells, settings)
    return sorted(set(_parts(cells, roles)))


def _find_roles(cells: Cells, settings: Table.Settings) -> Roles:
    return find_roles(
        cells,
        settings.picture_column,
        settings.split_column,
        settings.label_column,
        settings.target_columns,
    )


def _parts(cells: Cells, roles: Roles) -> list[str]:
    """The part of every row; empty for a table without parts."""
    if roles.split is None:
        return []
    parts = [part.lower() for part in cells.column(roles.split, "split_column")]
    return [_PART_NAMES.get(part, part) for part in parts]


def _choose_rows(cells: Cells, roles: Roles, split: str | None) -> list[int]:
    parts = _parts(cells, roles)
    if not parts:
        if split is not None:
            raise ValueError(f"{cells.file} has no parts: leave out split, or set split_column")
        return list(range(len(cells)))
    wanted = _PART_NAMES.get(split.lower(), split.lower()) if split else "train"
    chosen = [row for row, part in enumerate(parts) if part == wanted]
    if not chosen:
        present = ", ".join(sorted(set(parts)))
        raise ValueError(f"{cells.file} has no part {wanted!r}: set split to one of: {present}")
    return chosen


def _read_targets(cells: Cells, roles: Roles) -> tuple[Target | None, list[Target]]:
    """The class column, if there is one, and the other targets."""
    targets = [read_target(cells, name, "target_columns") for name in roles.targets]
    if roles.label is not None:
        return read_target(cells, roles.label, "label_column", as_class=True), targets
    with_classes = [target for target in targets if target.classes]
    return (with_classes[0] if len(with_classes) == 1 else None), targets


def _describe(cells: Cells, roles: Roles, label: Target | None, targets: list[Target]) -> str:
    found = [f"{cells.file}: pictures in {roles.picture!r}"]
    if roles.split:
        found.append(f"parts in {roles.split!r}")
    if label:
        found.append(f"{len(label.classes)} classes in {label.name!r}")
    for target in (target for target in targets if target is not label):
        kind = f"{len(target.classes)} classes" if target.classes else "numbers"
        found.append(f"{kind} in {target.name!r}")
    known = {roles.picture, roles.split, label.name if label else None, *roles.targets}
    unused = [name for name in cells.columns if name not in known]
    return ", ".join(found) + (f"; not used: {', '.join(unused)}" if unused else "")


def _check_unique(cells: Cells, names: list[str]) -> None:
    seen: dict[str, int] = {}
    for line, name in zip(cells.lines, names, strict=True):
        if name in seen:
            raise ValueError(
                f"{cells.file}, {cells.unit}s {seen[name]} and {line} both name {name}: remove one"
            )
        seen[name] = line


def _sizes(cells: Cells, names: list[str], chosen: list[int], folder: Path) -> list[int]:
    """Bytes of the chosen pictures. Raises `ValueError` where files are missing."""
    sizes: list[int] = []
    missing: list[int] = []
    for row in chosen:
        path = folder / names[row]
        if names[row] and path.is_file():
            sizes.append(path.stat().st_size)
        else:
            missing.append(row)
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(chosen)} pictures of {cells.file} are not in {folder}, e.g. "
            f"{names[missing[0]]!r} of {cells.unit} {cells.lines[missing[0]]}: set folder to "
            "where the paths begin"
        )
    return sizes
