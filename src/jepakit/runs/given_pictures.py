"""The pictures that a word on the command line names, read as further words say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jepakit.data.sources import Source, build_source, guess_parts, guess_source
from jepakit.runs.yaml_file import check

Values = tuple[float, float]


def open_given(
    data: str | Path,
    channels: int = 3,
    values: Values | None = None,
    split: str | None = None,
    trained: Values | None = None,
) -> dict[str, Source]:
    """The parts of a dataset by name ("all" where it has none), or only the part `split`.

    `values` become black and white; without them those that did in a training (`trained`), of
    pictures that have any.
    """
    parts = _parts(data, channels, split)
    if values is None:
        parts = {n: _with_values(p, trained) if _has_values(p) else p for n, p in parts.items()}
    return {name: build_source(_with_values(part, values)) for name, part in parts.items()}


def given_settings(
    data: str | Path, channels: int = 3, values: Values | None = None, split: str | None = None
) -> Any:
    """Settings of the source: of the part `split`, or of the training part."""
    return _with_values(guess_source(data, channels, split), values)


def parse_values(text: str | None) -> Values | None:
    """`0,10000` as two numbers. Raises `ValueError`."""
    if text is None:
        return None
    try:
        low, high = map(float, text.strip("[]() ").split(","))
    except ValueError:
        raise ValueError(f"--values {text} is not LOW,HIGH: write e.g. --values 0,10000") from None
    return low, high


def _parts(data: str | Path, channels: int, split: str | None) -> dict[str, Any]:
    """Settings of all parts by name, or of one."""
    if split is not None:
        return {split: guess_source(data, channels, split)}
    return dict(guess_parts(data, channels))


def _has_values(settings: Any) -> bool:
    return "values" in type(settings).model_fields


def _with_values(settings: Any, values: Values | None) -> Any:
    """The same settings with another range of values, checked."""
    if values is None:
        return settings
    if not _has_values(settings):
        raise ValueError("these pictures have no values to scale: leave out --values")
    read = {name: getattr(settings, name) for name in settings.model_fields_set}
    return check(type(settings), {**read, "values": values})
