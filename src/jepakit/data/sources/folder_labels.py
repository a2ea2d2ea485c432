"""Parts and classes of a dataset, read from where its pictures lie: `train/<class>/x.jpg`."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

_PART_NAMES = {
    **{"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
}


def part_name(name: str) -> str:
    """`Validation` -> `val`; what names no usual part stays as it is."""
    return _PART_NAMES.get(name.lower(), name)


def parts_among(folders: Iterable[str]) -> dict[str, str]:
    """Which of all folders at the top hold the parts "train", "val", "test", by these names.

    Empty unless there is a `train` folder beside another part, or alone.
    """
    present = sorted(folders)
    parts = {part_name(name): name for name in present if name.lower() in _PART_NAMES}
    return parts if "train" in parts and (len(parts) > 1 or len(present) == 1) else {}


def find_classes(names: Iterable[str]) -> tuple[str, ...]:
    """The first-level folders of paths if there are two or more, "9" before "10"."""
    folders = {name.partition("/")[0] for name in names if "/" in name}
    return in_natural_order(folders) if len(folders) >= 2 else ()


def in_natural_order(texts: Iterable[str]) -> tuple[str, ...]:
    """Sorted, but "9" before "10"."""
    return tuple(sorted(texts, key=_natural))


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    is_number = [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts]
    return is_number, name


def find_labels(names: list[str], classes: tuple[str, ...]) -> np.ndarray:
    """The place in `classes` of each path's first-level folder; -1 where it is none of them."""
    places = {name: place for place, name in enumerate(classes)}
    folders = (name.partition("/")[0] if "/" in name else "" for name in names)
    return np.fromiter((places.get(folder, -1) for folder in folders), np.int64, len(names))
