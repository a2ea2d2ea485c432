"""Writes the tables of docs/guides/settings.md from the settings; `--check` only compares."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jepakit.launch.slurm_settings import SlurmSettings
from jepakit.runs.config import RunConfig
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.seeing.settings import SeeingSettings

GUIDE = Path(__file__).parent.parent / "docs" / "guides" / "settings.md"
BEGIN, END = "<!-- settings -->", "<!-- /settings -->"
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
WHOLE: dict[type[BaseModel], str] = {
    RunConfig: "The run",
    EvaluationSettings: "An evaluation (`jepa evaluate`)",
    SeeingSettings: "Drawings (`jepa visualize`, `jepa report`)",
    SlurmSettings: "Jobs on SLURM (the words after `--slurm`)",
}
NAMES: dict[Any, str] = {
    **{int: "whole number", float: "number", str: "text", bool: "true or false"},
    **{Path: "path", NoneType: "null"},
}


def all_tables() -> str:
    """The whole of the generated part: one section per group of settings."""
    known: dict[type[BaseModel], str] = {}
    training = list(sections(RunConfig, "", RunConfig(), known))
    evaluation = sections(EvaluationSettings, "", EvaluationSettings(), {})
    drawings = sections(SeeingSettings, "", SeeingSettings(), known)
    jobs = sections(SlurmSettings, "", SlurmSettings(), {})
    return "\n\n".join([*training, *evaluation, *drawings, *jobs])


def sections(
    model: type[BaseModel],
    path: str,
    defaults: BaseModel | None,
    written_before: dict[type[BaseModel], str],
) -> Iterator[str]:
    """A table of a group's own values, then the sections of the groups below it.

    `defaults` is what the group is where nothing is set; None where it must be asked for. A group
    that has its table already, under another name, is only referred to.
    """
    rows, below = [], []
    for name, field in model.model_fields.items():
        groups = models_in(field.annotation)
        default = getattr(defaults, name, None)
        if not groups:
            rows += [] if is_own_kind(name, field) else [row(path + name, field, defaults)]
            continue
        before = next((written_before[g] for g in groups if g in written_before), None)
        if before or is_choice(groups, default):
            rows.append(choice_row(path + name, field, groups, default, before))
        for group in groups if before is None else []:
            written_before[group] = path + name
            chosen = default if isinstance(default, group) else free_defaults(group)
            below.append((group, f"{path}{name}.", chosen))
    yield section(model, path, rows)
    for group, prefix, chosen in below:
        yield from sections(group, prefix, chosen, written_before)


def section(model: type[BaseModel], path: str, rows: Sequence[str]) -> str:
    """A heading, the sentence of the settings' class, and its table."""
    heading = f"`{path.rstrip('.')}`" if path else WHOLE[model]
    if kind_of(model):
        heading += f" of kind `{kind_of(model)}`"
    lines = [f"## {heading}", "", cell(inspect.getdoc(model) or "")]
    if rows:
        lines += ["", "| setting | values | default | meaning |", "|---|---|---|---|", *rows]
    return "\n".join(lines)


def row(name: str, field: FieldInfo, defaults: BaseModel | None) -> str:
    """One setting that is a plain value."""
    attribute = name.rsplit(".", 1)[-1]
    default = getattr(defaults, attribute, field.get_default(call_default_factory=True))
    shown = "must be given" if field.is_required() else f"`{written(default)}`"
    values = cell(values_of(field.annotation, field.metadata))
    return f"| `{name}` | {values} | {shown} | {cell(field.description or '')} |"


def choice_row(
    name: str,
    field: FieldInfo,
    groups: Sequence[type[BaseModel]],
    default: Any,
    before: str | None,
) -> str:
    """One setting that is one of several groups, or a plain value instead of a group."""
    kinds = [f"`{kind_of(group)}`" for group in groups if kind_of(group)]
    plain = [p for p in members(field.annotation) if p is NoneType or get_origin(p) is Literal]
    group = "list of groups (below)" if get_origin(field.annotation) is tuple else "a group (below)"
    values = [*kinds, *map(value_words, plain), *([] if kinds else [group])]
    shown = (kind_of(type(default)) or "") if isinstance(default, BaseModel) else written(default)
    shown = "must be given" if field.is_required() else f"`{shown}`"
    kind = ".kind" if isinstance(default, BaseModel) else ""
    meaning = cell(field.description or ("which of the kinds below" if kinds else ""))
    meaning += f"; settings as in `{before}`" if before else ""
    return f"| `{name}{kind}` | {', '.join(values)} | {shown} | {meaning} |"


def is_choice(groups: Sequence[type[BaseModel]], default: Any) -> bool:
    """Whether a group can be replaced, by another kind or by a plain value."""
    return not isinstance(default, BaseModel) or any(kind_of(group) for group in groups)


def kind_of(model: type[BaseModel]) -> str | None:
    """The name of a variant among its family; None for a group that has no family."""
    field = model.model_fields.get("kind")
    return field.default if field is not None and is_own_kind("kind", field) else None


def is_own_kind(name: str, field: FieldInfo) -> bool:
    """Whether a field only names the variant that its class is."""
    return name == "kind" and len(get_args(field.annotation)) == 1


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that an annotation allows, in order, each once."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [model for part in get_args(annotation) for model in models_in(part)]
    return list(dict.fromkeys(found))


def free_defaults(model: type[BaseModel]) -> BaseModel | None:
    """A group that nobody set, unless something in it must be given."""
    required = any(field.is_required() for field in model.model_fields.values())
    return None if required else model()


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union; the annotation itself if it is none."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def values_of(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """What a setting may be, in words: `whole number ≥ 1 or null`."""
    limits = ", ".join(
        f"{sign} {getattr(constraint, key):g}"
        for constraint in spread(metadata)
        for key, sign in SIGNS.items()
        if getattr(constraint, key, None) is not None
    )
    words = [value_words(part) for part in members(annotation)]
    return " or ".join(
        f"{word} {limits}" if limits and word in (NAMES[int], NAMES[float]) else word
        for word in words
    )


def spread(metadata: Sequence[Any]) -> Iterator[Any]:
    """The constraints themselves, also those inside of a nested `Field`."""
    for constraint in metadata:
        yield from constraint.metadata if isinstance(constraint, FieldInfo) else (constraint,)


def value_words(part: Any) -> str:
    """One alternative in words."""
    if get_origin(part) is Annotated:
        inner, *metadata = get_args(part)
        return values_of(inner, metadata)
    if get_origin(part) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(part))
    if get_origin(part) is dict:
        return "mapping of names to values"
    if get_origin(part) is tuple:
        first, *others = get_args(part)
        if others == [Ellipsis]:
            return f"list of {value_words(first)}"
        assert set(others) == {first}, f"no words for {part}"
        return f"{len(get_args(part))} of: {value_words(first)}"
    return NAMES[part]


def written(value: Any) -> str:
    """A default as one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{}" if not value else str(value)
    if isinstance(value, tuple):
        return f"[{','.join(written(part) for part in value)}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cell(words: str) -> str:
    """Words in one line that cannot break a table."""
    return " ".join(words.split()).replace("|", "\\|")


def renewed(text: str) -> str:
    """The guide's text with its generated part written again."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{all_tables()}\n\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Renew the guide, or compare."""
    text = GUIDE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        if renewed(text) != text:
            print("docs/guides/settings.md is out of date: run python scripts/settings_table.py")
            return 1
        return 0
    GUIDE.write_text(renewed(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
