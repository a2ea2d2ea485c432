"""What torchvision's data sets are asked with: every class names its parts in its own way."""

from __future__ import annotations

import difflib
import inspect
from pathlib import Path
from typing import Any

from torchvision import datasets

# What classes call the parts that everybody calls train, val and test.
_PARTS: dict[str, dict[str, str]] = {
    "Places365": {"train": "train-standard"},
    "OxfordIIITPet": {"train": "trainval"},
    "INaturalist": {"train": "2021_train", "val": "2021_valid"},
    "CelebA": {"val": "valid"},
    "Country211": {"val": "valid"},
}
_SET_BY_US = frozenset({"self", "transform", "target_transform", "transforms", "loader"})
_SETTINGS = frozenset({"root", "download"})
_BOTH = ("train", "test")


def find_class(name: str) -> type:
    """The class of that name; `ValueError` with what may have been meant."""
    known = sorted(n for n in datasets.__all__ if inspect.isclass(getattr(datasets, n)))
    if name not in known:
        lower = {n.lower(): n for n in known}
        close = difflib.get_close_matches(name.lower().replace("-", ""), lower, n=1, cutoff=0.5)
        meant = f"did you mean {lower[close[0]]!r}?" if close else f"known are {', '.join(known)}"
        raise ValueError(f"torchvision has no data set {name!r}: {meant}")
    found: type = getattr(datasets, name)
    return found


def find_arguments(
    kind: type, root: Path, split: str | None, download: bool, options: dict[str, Any]
) -> dict[str, Any]:
    """The class's arguments for the settings; `ValueError` for what it does not take."""
    parameters = _parameters(kind)
    free = sorted(parameters.keys() - _SET_BY_US - _SETTINGS)
    unknown = [name for name in options if name not in free]
    if unknown:
        raise ValueError(
            f"torchvision's {kind.__name__} has no option {unknown[0]!r}: "
            f"it takes {', '.join(free) or 'none'}"
        )
    arguments = {**_part(kind, parameters, split), **options}
    if "root" in parameters:
        arguments["root"] = root
    if "download" in parameters:
        arguments["download"] = download
    elif download:
        raise ValueError(
            f"torchvision cannot download {kind.__name__}: put it into {root} and leave out "
            "data.source.download"
        )
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in {*arguments, *_SET_BY_US}:
            raise ValueError(
                f"torchvision's {kind.__name__} must be told {name}: "
                f"set data.source.options={{{name}: VALUE}}"
            )
    return arguments


def takes_loader(kind: type) -> bool:
    """Whether the class reads pictures with a function that it is given."""
    return "loader" in _parameters(kind)


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Those of the constructor, and of its parent's where it passes others on."""
    found: dict[str, inspect.Parameter] = {}
    for parent in kind.__mro__:
        if "__init__" not in vars(parent):
            continue
        own = inspect.signature(vars(parent)["__init__"]).parameters
        found = {**own, **found}
        if not any(p.kind is p.VAR_KEYWORD for p in own.values()):
            break
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {n: p for n, p in found.items() if n != "self" and p.kind not in variable}


def _part(
    kind: type, parameters: dict[str, inspect.Parameter], split: str | None
) -> dict[str, Any]:
    """The argument that chooses a part."""
    if split is None:
        return {}
    for name in ("train", "background"):
        if name in parameters:
            if split not in _BOTH:
                raise ValueError(
                    f"torchvision's {kind.__name__} has no part {split!r}: set data.source.split "
                    f"to one of: {', '.join(_BOTH)}"
                )
            return {name: split == _BOTH[0]}
    own_name = _PARTS.get(kind.__name__, {}).get(split, split)
    for name in ("split", "version"):
        if name in parameters:
            return {name: own_name}
    raise ValueError(
        f"torchvision's {kind.__name__} is not stored in parts: leave out data.source.split"
    )
