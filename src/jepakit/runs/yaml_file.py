"""From a YAML file and `a.b=value` words to checked settings, and from settings to YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from jepakit.runs.folder import RunFolder
from jepakit.runs.mistakes import describe, fill_in_kinds

S = TypeVar("S", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-3` is a number, as everybody expects, and no name is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As in any YAML, but of two equal names none is dropped in silence."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"{key.value!r} is given twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes quotes around whatever `_Loader` would not read as text."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    run = RunFolder(path)
    if run.config.is_file():
        raise ValueError(f"{path} is a run, not a YAML file: for its settings use {run.config}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a YAML file: for its pictures use --data {path}")
    if not path.is_file():
        raise ValueError(f"there is no config file {path}: give the path of a YAML file")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {_in_one_line(error)}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file: give the path of a YAML file") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold settings as `name: value` lines")
    return content


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """What is wrong with a file's content is told with the file's name."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def to_yaml(settings: BaseModel) -> str:
    """Settings as YAML, in their order; `read_yaml` gives them back."""
    content = settings.model_dump(mode="json")
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def as_yaml(content: dict[str, Any]) -> str:
    """A mapping as YAML to paste, with lists in one line."""
    return yaml.dump(
        content,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )


def apply_overrides(content: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A copy of the content with `a.b=value` words applied; values are read as YAML."""
    merged = _copy(content)
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not all(name.split(".")):
            raise ValueError(f"{word!r} is not a setting: write name.of.setting=value")
        *path, last = name.split(".")
        place = merged
        for key in path:
            if place.get(key) is None:
                place[key] = {}
            place = place[key]
            if not isinstance(place, dict):
                raise ValueError(f"{name!r} goes below {key!r}, which is a single value")
        try:
            place[last] = yaml.load(value, _Loader)
        except yaml.YAMLError as error:
            raise ValueError(f"the value in {word!r} is not YAML: {_in_one_line(error)}") from None
    return merged


def check(model: type[S], content: dict[str, Any]) -> S:
    """Settings from a mapping; `ValueError` with one sentence per mistake.

    Where a part's `kind` is left out it is the default's.
    """
    try:
        return model.model_validate(fill_in_kinds(model, content))
    except ValidationError as error:
        raise ValueError(describe(model, error)) from None


def merged(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The content with the changes laid over it, mappings within mappings too."""
    result = dict(content)
    for name, value in changes.items():
        below = result.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[name] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their full names, `{"batch.size": 8}`, as mappings within mappings."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        for part in reversed(name.split(".")):
            value = {part: value}
        result = merged(result, value)
    return result


def _copy(content: Any) -> Any:
    return {k: _copy(v) for k, v in content.items()} if isinstance(content, dict) else content


def _in_one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    return " ".join(str(error).split())
