"""What the columns of a table mean: told by the settings, or guessed from names and contents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jepakit.data.sources.picture_files import SUFFIXES
from jepakit.data.sources.table_cells import Cells

YES_NO = ("no", "yes")
_PICTURE_NAMES = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
    *("picture", "img", "img_path", "image_file", "name", "image_id"),
)
_CLASS_NAMES = ("label", "class", "category", "target", "y", "class_name", "label_name")
_SPLIT_NAMES = ("split", "part", "subset", "set", "fold")
_MOST_CLASSES_PER_ROW = 0.5  # a text with more values than this is an identifier, not a class


@dataclass(frozen=True)
class Roles:
    """Which column holds the pictures' paths, the parts, the class, and further targets."""

    picture: str
    split: str | None
    label: str | None
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """One column of labels: classes and a place in them per row, or none and numbers."""

    name: str
    classes: tuple[str, ...]
    values: list[int] | list[float]


def find_roles(
    cells: Cells,
    picture: str | None = None,
    split: str | None = None,
    label: str | None = None,
    targets: tuple[str, ...] | None = None,
) -> Roles:
    """What is given is kept, the rest is guessed.

    A class column is called label, class, category, target or y, or is the only column of texts
    if nothing else is left. Every other column of numbers is a target, and of texts too unless
    more than half of them are different.
    """
    picture = picture or _find_pictures(cells)
    split = split or _find_split(cells, picture)
    if label is not None or targets is not None:
        return Roles(picture, split, label, tuple(t for t in targets or () if t != label))
    free = [name for name in cells.columns if name not in (picture, split)]
    named = [name for name in free if name.lower() in _CLASS_NAMES]
    label = named[0] if named else None
    if label is None and len(free) == 1 and not _are_numbers(cells.columns[free[0]]):
        label = free[0]
    is_target = {name: name != label and _may_be_target(cells.columns[name]) for name in free}
    return Roles(picture, split, label, tuple(name for name in free if is_target[name]))


def read_target(cells: Cells, name: str, setting: str, as_class: bool = False) -> Target:
    """A column's labels: yes or no if it holds only 0 and 1, numbers, or else classes."""
    column = cells.column(name, setting)
    holes = [line for line, cell in zip(cells.lines, column, strict=True) if _is_hole(cell)]
    if holes:
        raise ValueError(
            f"{cells.file}, {cells.unit} {holes[0]}: {name} is missing: fill it in, remove the "
            f"{cells.unit}, or leave the column out with {setting} ({len(holes)} of {len(cells)} "
            "pictures have none)"
        )
    if as_class or not _are_numbers(column):
        classes = tuple(sorted(set(column), key=_by_number))
        places = {value: place for place, value in enumerate(classes)}
        return Target(name, classes, [places[cell] for cell in column])
    numbers = [float(cell) for cell in column]
    if set(numbers) <= {0.0, 1.0}:
        return Target(name, YES_NO, [int(number) for number in numbers])
    return Target(name, (), numbers)


def _find_pictures(cells: Cells) -> str:
    holding = [
        name
        for name, column in cells.columns.items()
        if all(Path(cell).suffix.lower() in SUFFIXES for cell in column)
    ]
    named = [name for name in cells.columns if name.lower() in _PICTURE_NAMES]
    for name in [*[n for n in named if n in holding], *holding, *named]:
        return name
    raise ValueError(
        f"{cells.file}: no column looks like paths of pictures: set picture_column to one of: "
        f"{', '.join(cells.columns)}"
    )


def _find_split(cells: Cells, picture: str) -> str | None:
    """A column of that name, if one of its parts is for training."""
    for name, column in cells.columns.items():
        is_named_so = name != picture and name.lower() in _SPLIT_NAMES
        if is_named_so and "train" in {cell.lower() for cell in column}:
            return name
    return None


def _may_be_target(column: Sequence[str]) -> bool:
    filled = [cell for cell in column if cell]
    return _are_numbers(filled) or len(set(filled)) <= _MOST_CLASSES_PER_ROW * len(column)


def _is_hole(cell: str) -> bool:
    return cell == "" or (_is_number(cell) and not math.isfinite(float(cell)))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _are_numbers(column: Sequence[str]) -> bool:
    return all(_is_number(cell) for cell in column)


def _by_number(cell: str) -> tuple[float, str]:
    """Sorts "9" before "10"."""
    return (float(cell) if _is_number(cell) else math.inf), cell
