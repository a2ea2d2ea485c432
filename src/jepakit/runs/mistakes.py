"""What is wrong with settings, in words that a person can act on."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

Model = type[BaseModel]

# What to type instead, by pydantic's name of the mistake; its own words serve for the others.
_WRITE = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "write a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "write a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "write true or false"),
    **dict.fromkeys(("tuple_type", "list_type"), "write a list, e.g. [1, 2]"),
    **dict.fromkeys(("string_type", "path_type"), "write a text, in quotes if it is a number"),
}


def describe(model: Model, error: ValidationError) -> str:
    """One sentence per mistake, with the names as they are written in a file."""
    by_name: dict[str, list[str]] = {}
    for item in error.errors():
        path, owners = _follow(model, item["loc"])
        name = ".".join(path)
        begin, advice = _explain(model, path, owners, dict(item))
        # A value that may be of several types has a mistake for each of them.
        known = by_name.setdefault(name, [begin])
        if advice and advice not in known:
            known.append(advice)
    return "; ".join(begin + " or ".join(advice) for begin, *advice in by_name.values())


def fill_in_kinds(model: Model, content: Any) -> Any:
    """The content with the default's `kind` wherever a part of several kinds does not say its own.

    `masking.num_targets=2` then works without `masking.kind=multiblock`.
    """
    if not isinstance(content, dict):
        return content
    filled = dict(content)
    for name, field in model.model_fields.items():
        variants = _models_in(field.annotation)
        part = filled.get(name)
        if not isinstance(part, dict) or not variants:
            continue
        kind = part.get("kind", getattr(field.default, "kind", None))
        if len(variants) > 1 and kind is not None:
            part = {"kind": kind, **part}
        chosen = next((v for v in variants if len(variants) == 1 or _kind(v) == kind), None)
        filled[name] = fill_in_kinds(chosen, part) if chosen else part
    return filled


def _follow(model: Model, location: Sequence[Any]) -> tuple[list[str], list[Model]]:
    """The path as people write it, and the models that should know its last name.

    Pydantic also names the chosen variant (`masking.multiblock.x`) and, at the end, the types
    that it tried.
    """
    path: list[str] = []
    here, owners = [model], [model]
    for key in location:
        chosen = [variant for variant in here if _kind(variant) == key]
        if len(here) > 1 and chosen:
            here = chosen
        elif isinstance(key, int) and path:
            path[-1] += f"[{key}]"
        elif here:
            path.append(str(key))
            owners, here = here, _below(here, key)
    return path, owners


def _explain(
    model: Model, path: list[str], owners: list[Model], item: dict[str, Any]
) -> tuple[str, str]:
    """The beginning of a sentence, and an advice that ends it."""
    name, mistake, context = ".".join(path), item["type"], item.get("ctx", {})
    if mistake == "extra_forbidden":
        return _unknown(model, path, owners), ""
    if mistake == "missing" and name.endswith("]"):
        return f"{name.partition('[')[0]} has too few values: ", "write a list of all of them"
    if mistake == "missing":
        return f"{name} is missing: ", f"write {name}=VALUE"
    if mistake in ("union_tag_invalid", "union_tag_not_found"):
        kinds = [str(_kind(variant)) for variant in _at(model, path)]
        given = f"={context['tag']!r} is unknown: " if "tag" in context else " is missing: "
        close = difflib.get_close_matches(context.get("tag", ""), kinds, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        return f"{name}.kind{given}{meant}", f"choose one of {', '.join(kinds)}"
    message = item["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    if mistake == "value_error":
        return f"{name}: " if name else "", message
    begin = f"{name}={reprlib.repr(item.get('input'))} is not possible: "
    if mistake in ("model_type", "model_attributes_type"):
        names = list(_at(model, path)[0].model_fields)
        return begin, f"it is a group of settings, write e.g. {name}.{names[0]}=VALUE"
    if mistake == "literal_error":
        return begin, f"choose {context['expected']}"
    return begin, _WRITE.get(mistake, f"{message[:1].lower()}{message[1:]}")


def _unknown(model: Model, path: list[str], owners: list[Model]) -> str:
    """What may have been meant: another kind's, one here, one elsewhere."""
    *parent, last = path
    place = ".".join(parent)
    for sibling in _at(model, parent):
        if last in sibling.model_fields and sibling not in owners:
            return (
                f"unknown setting '{place}.{last}' with {place}.kind={_kind(owners[0])}: it "
                f"belongs to {place}.kind={_kind(sibling)}"
            )
    begin = f"unknown setting '{'.'.join(path)}': "
    known = list(dict.fromkeys(name for owner in owners for name in owner.model_fields))
    close = difflib.get_close_matches(last, known, n=1, cutoff=0.7)
    everywhere = _all_names(model)
    ends = {name: name.rsplit(".", 1)[-1] for name in everywhere}
    alike = difflib.get_close_matches(last, set(ends.values()), n=1, cutoff=0.8)
    meant = [".".join([*parent, *close])] if close else []
    meant = meant or [name for name in everywhere if name.replace(".", "_") == last]
    meant = meant or [name for name in everywhere if ends[name] in alike]
    meant.sort(key=lambda name: not name.startswith(f"{place}."))
    if meant:
        return f"{begin}did you mean {' or '.join(map(repr, meant[:3]))}?"
    return f"{begin}known here are {', '.join(known)}"


def _kind(model: Model) -> Any:
    field = model.model_fields.get("kind")
    return field.default if field else None


def _models_in(annotation: Any) -> list[Model]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def _below(models: Sequence[Model], key: Any) -> list[Model]:
    fields = [model.model_fields[key] for model in models if key in model.model_fields]
    return [model for field in fields for model in _models_in(field.annotation)]


def _at(model: Model, path: Sequence[str]) -> list[Model]:
    """All models that may stand at this path."""
    here = [model]
    for key in path:
        here = _below(here, key.partition("[")[0])
    return here


def _all_names(model: Model, prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        for inner in _models_in(field.annotation):
            names += _all_names(inner, f"{prefix}{name}.")
    return list(dict.fromkeys(names))


def settings_called(model: Model, word: str) -> list[str]:
    """The full names of the settings that a word ends, `epochs` or `batch-size`."""
    word = word.lstrip("-").replace("-", "_")
    names = _all_names(model)
    by_end = [name for name in names if word in (name, name.rpartition(".")[2])]
    return by_end or [name for name in names if name.replace(".", "_") == word]


def meant(word: str, known: Sequence[str]) -> str:
    """What a mistyped word may have meant, or all that is possible."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
