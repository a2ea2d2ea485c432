"""Which columns of a Hugging Face data set hold the pictures, the class, and further classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Features = Mapping[str, Any]  # as `Features.to_dict` of the package datasets describes them

_CLASS_NAMES = (
    *("label", "labels", "class", "fine_label", "category", "target", "y", "class_name"),
    "label_name",
)
_PICTURE_NAMES = ("image", "img", "picture", "jpg", "png", "webp", "pixel_values")
_BINARY = ("binary", "large_binary")


@dataclass(frozen=True)
class Columns:
    """The names of the columns, and the classes where the data set names them."""

    picture: str
    dtype: str | None  # of the numbers in an array; None: the picture is a file
    label: str | None
    classes: tuple[str, ...]  # of the label; empty: to be found among its values
    tasks: Mapping[str, tuple[str, ...]]  # further columns of classes

    def without_label(self) -> Columns:
        """The same, but all pictures are unlabelled."""
        return replace(self, label=None, classes=())


def find_columns(features: Features, picture: str | None, label: str | None) -> Columns:
    """What is given is kept, the rest is found from the types and names of the columns."""
    picture = _find_picture(features, picture)
    named = {name: _classes(feature) for name, feature in features.items()}
    named = {name: classes for name, classes in named.items() if classes}
    if label is not None and label not in features:
        raise ValueError(_no_column(features, label, "label_column"))
    label = label or _find_label(features, list(named), picture)
    tasks = {name: classes for name, classes in named.items() if name != label}
    classes = named.get(label or "", ())
    return Columns(picture, _array_type(features[picture]), label, classes, tasks)


def _find_picture(features: Features, given: str | None) -> str:
    if given is not None and given not in features:
        raise ValueError(_no_column(features, given, "column"))
    if given is not None:
        if not (_is_file(features[given]) or _array_type(features[given])):
            raise ValueError(
                f"the column {given!r} holds no pictures: they are files or arrays of numbers"
            )
        return given
    images = [name for name in features if _type(features[name]) == "Image"]
    others = [name for name in features if _is_file(features[name])]
    arrays = [name for name in features if _array_type(features[name])]
    for found in (images, others, arrays):
        usual = [name for name in found if name.lower() in _PICTURE_NAMES]
        for name in (*usual, *found):
            return name
    raise ValueError(
        f"no column holds pictures: set data.source.column to one of: {', '.join(features)}"
    )


def _find_label(features: Features, with_classes: list[str], picture: str) -> str | None:
    """A column of classes, best one called so; or one of texts or numbers that is called so."""
    for name in _CLASS_NAMES:
        if name in with_classes:
            return name
    if with_classes:
        return with_classes[0]
    plain = [name for name in features if name != picture and _is_plain(features[name])]
    return next((name for name in plain if name.lower() in _CLASS_NAMES), None)


def _type(feature: Any) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, Mapping) else ""


def _classes(feature: Any) -> tuple[str, ...]:
    return tuple(feature["names"]) if _type(feature) == "ClassLabel" else ()


def _is_file(feature: Any) -> bool:
    """The content of a file, alone or beside its path."""
    if _type(feature) == "Image":
        return True
    if isinstance(feature, Mapping) and set(feature) == {"bytes", "path"}:
        return True
    return _type(feature) == "Value" and feature["dtype"] in _BINARY


def _is_plain(feature: Any) -> bool:
    is_value = _type(feature) == "Value"
    return is_value and feature["dtype"].startswith(("string", "large_string", "int", "uint"))


def _array_type(feature: Any) -> str | None:
    """The type of the numbers, if these are an array or lists in lists."""
    if _type(feature) in ("Array2D", "Array3D"):
        return str(feature["dtype"])
    depth = 0
    while _type(feature) in ("List", "LargeList", "Sequence"):
        feature, depth = feature["feature"], depth + 1
    is_picture = depth in (2, 3) and _type(feature) == "Value"
    return str(feature["dtype"]) if is_picture else None


def _no_column(features: Features, name: str, setting: str) -> str:
    known = ", ".join(features)
    return f"there is no column {name!r}: set data.source.{setting} to one of: {known}"
