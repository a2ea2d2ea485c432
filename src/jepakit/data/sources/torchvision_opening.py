"""Opens torchvision's data sets: mistakes in one sentence, classes and labels wherever they are."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jepakit.core.errors import RunFailed

_SECONDS_WITHOUT_ANSWER = 20.0
_LABELS = ("targets", "_labels", "labels", "y")  # where the classes keep them
_CLASSES = ("classes", "categories", "all_categories")
_NUM_COMPARED = 32  # pictures


def opened(kind: Any, arguments: dict[str, Any]) -> Any:
    """The data set, checked to hold pictures with a class each.

    Raises `ValueError` if it is not there or takes other arguments, and `RunFailed` if it cannot
    be downloaded.
    """
    name, download = kind.__name__, arguments.get("download", False)
    try:
        with _downloading(arguments["root"]) if download else nullcontext():
            dataset = kind(**arguments)
        item = dataset[0]
    except ImportError as error:
        raise ValueError(f"torchvision's {name} needs {error.name}: install it") from None
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"torchvision's {name}: {_first_line(error)}") from None
    except (OSError, RuntimeError) as error:
        raise _explained(error, name, arguments) from None
    is_pair = isinstance(item, tuple) and len(item) == 2
    if not (is_pair and isinstance(item[0], str | Image.Image)):
        raise ValueError(f"torchvision's {name} does not hold pictures with a class: use another")
    as_label(item[1], name)
    return dataset


def as_label(value: Any, name: str) -> int:
    """A class as torchvision gives it; None is unlabelled."""
    if value is None:
        return -1
    if isinstance(value, list | tuple | str | dict) or np.ndim(value) > 0:
        raise ValueError(
            f"torchvision's {name} answers {type(value).__name__} where one class is needed: "
            "choose one with data.source.options, or use a table of the pictures"
        )
    return int(value)


def find_labels(dataset: Any) -> np.ndarray | None:
    """The labels of all pictures; None where only the pictures themselves tell them."""
    some = np.linspace(0, len(dataset) - 1, _NUM_COMPARED).astype(int).tolist()
    told = [as_label(dataset[index][1], type(dataset).__name__) for index in some]
    for name in _LABELS:
        values = getattr(dataset, name, None)
        if values is None or len(np.shape(values)) != 1 or len(values) != len(dataset):
            continue
        labels = np.array([int(value) for value in values], np.int64)
        if labels[some].tolist() == told:  # it may be another question's
            return labels
    pairs = getattr(dataset, "_samples", None)
    return np.array([label for _, label in pairs], np.int64) if pairs else None


def find_classes(
    dataset: Any, labels: np.ndarray | None, options: dict[str, Any]
) -> tuple[str, ...]:
    """The names of the classes, or their numbers where the names are not those of the labels."""
    highest = -1 if labels is None else int(labels.max())
    number = getattr(dataset, "num_classes", highest + 1)
    names: list[str] = []
    if not any(name.startswith("target_type") for name in options):
        found: Any = next((getattr(dataset, n) for n in _CLASSES if hasattr(dataset, n)), [])
        names = [", ".join(name) if isinstance(name, tuple) else str(name) for name in found]
    if len(set(names)) != len(names) or len(names) <= highest or not names:
        return tuple(map(str, range(number)))
    return tuple(names)


@contextmanager
def _downloading(root: Path) -> Iterator[None]:
    """One process at a time, the others then find it there; and no endless waiting for a server."""
    root.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS_WITHOUT_ANSWER)
    try:
        with (root / ".downloading").open("w") as file:
            if sys.platform != "win32":
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            yield
    finally:
        socket.setdefaulttimeout(before)


def _explained(error: Exception, name: str, arguments: dict[str, Any]) -> Exception:
    root = arguments.get("root")
    if "pip install" in str(error):
        return ValueError(f"torchvision's {name}: {_first_line(error)}")
    if arguments.get("download"):
        return RunFailed(
            f"torchvision's {name} cannot be downloaded ({_first_line(error)}): check the network, "
            f"or put it into {root}"
        )
    advice = f"put it there, or set data.source.root to where {name} is"
    if "download" in arguments:
        advice = "set data.source.download=true, or data.source.root to where it is"
    return ValueError(f"torchvision's {name} is not in {root}, or it is damaged: {advice}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
