"""Labels that lie beside an array of pictures, as places in classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Int


def read_labels(file: Path) -> np.ndarray:
    """Labels from a `.npy` file, or from a text file with one per line."""
    if not file.is_file():
        raise ValueError(f"there is no file {file}: set data.source.labels to .npy or .txt")
    try:
        if file.suffix.lower() == ".npy":
            return np.load(file)
        return np.array(file.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{file} does not hold labels ({error}): save them as .npy") from None


def as_classes(
    labels: np.ndarray | None, number: int, names: tuple[str, ...] | None = None
) -> tuple[Int[np.ndarray, " N"], tuple[str, ...]]:
    """Places in the classes, -1 = unlabelled, and the classes.

    Whole numbers are places in `names`; without names, and where they are texts, the different
    ones are sorted and become the classes.
    """
    if labels is None:
        return np.full(number, -1), ()
    if labels.dtype.kind in "iu":
        labels = labels.astype(np.int64)
        if labels.min() < -1:
            raise ValueError(f"label {labels.min()} is not possible: -1 is the one for unlabelled")
        return _places_of_numbers(labels, names)
    texts = labels.astype(str).tolist()
    if names is None:
        names = tuple(sorted(set(texts), key=_by_number))
    places = {text: place for place, text in enumerate(names)}
    unknown = next((text for text in texts if text not in places), None)
    if unknown is not None:
        raise ValueError(f"label {unknown!r} is not among the {len(names)} classes: add it")
    return np.array([places[text] for text in texts], np.int64), names


def _places_of_numbers(
    labels: np.ndarray, names: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    if names is not None:
        if labels.max() >= len(names):
            raise ValueError(f"label {labels.max()} has no name among {len(names)} classes: add it")
        return labels, names
    present = np.unique(labels[labels >= 0])
    places = np.where(labels < 0, -1, np.searchsorted(present, labels))
    return places, tuple(map(str, present.tolist()))


def _by_number(text: str) -> tuple[float, str]:
    """Sorts "9" before "10"."""
    return (float(text) if text.isdecimal() else np.inf), text
