"""The pictures that a word on the command line names, read as further words say."""

from __future__ import annotations

from pathlib import Path

from jepakit.data.sources import Source, build_source, guess_parts, guess_source

Values = tuple[float, float]


def open_given(
    data: str | Path, channels: int = 3, values: Values | None = None, split: str | None = None
) -> dict[str, Source]:
    """The parts of a dataset by name ("all" where it has none), or only the part `split`."""
    if split is not None:
        found = {split: guess_source(data, channels, split)}
    else:
        found = dict(guess_parts(data, channels))
    if values is None:
        return {name: build_source(part) for name, part in found.items()}
    opened = {}
    for name, part in found.items():
        if "values" not in type(part).model_fields:
            raise ValueError(f"{data} has no values to scale: leave out --values")
        read = {field: getattr(part, field) for field in part.model_fields_set}
        opened[name] = build_source(type(part).model_validate({**read, "values": values}))
    return opened


def parse_values(text: str | None) -> Values | None:
    """`0,10000` as two numbers. Raises `ValueError`."""
    if text is None:
        return None
    try:
        low, high = map(float, text.strip("[]() ").split(","))
    except ValueError:
        raise ValueError(f"--values {text} is not LOW,HIGH: write e.g. --values 0,10000") from None
    return low, high
