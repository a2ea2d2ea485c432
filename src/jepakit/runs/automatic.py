"""`jepa pretrain --data PICTURES`: settings for these pictures on this device, with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel
from rich.table import Table

from jepakit.core.devices import choose_device, compiles_quickly
from jepakit.data.sources import (
    BrokenPicture,
    Source,
    build_source,
    guess_parts,
    guess_source,
    short_name,
)
from jepakit.data.sources.arrays import ArraySource
from jepakit.data.sources.decoding import decoding_of
from jepakit.data.sources.guess import SCENES
from jepakit.runs.channel_values import NUM_LOOKED_AT, look_at_stored, look_at_values
from jepakit.runs.choices import Choices, section
from jepakit.runs.recipes import choose_networks, choose_schedule
from jepakit.runs.yaml_file import check

_HELD_OUT = ("val", "test")
S = TypeVar("S", bound=BaseModel)
RGB = 3  # channels
MEMORY = "memory"  # stands for the path of pictures that a program has
FEWEST = 2  # pictures; fewer cannot differ from each other


def choose(
    data: str | Path | Source | None,
    devices: Sequence[str],
    said: Mapping[str, Any] | None = None,
    given: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], Table]:
    """Settings for the pictures named, or given by a program (without any: procedural scenes).

    What is `said` already, in the form of a YAML file, decides on the rest: how the source is read,
    and for how many epochs. The table shows what is `given`, names and values, as they are.
    """
    said = said or {}
    chosen = Choices()
    device = choose_device(devices[0] if devices else "auto")
    source = _choose_source(chosen, data, section(said, "data", "source"))
    if len(source) < FEWEST:
        raise ValueError(f"{data} holds {len(source)} picture: add some, {FEWEST} are the fewest")
    source = _choose_values(chosen, source)
    shorter, grey = look_at(source)
    if grey and source.num_channels == RGB and decoding_of(source):
        chosen.take("data.source.channels", 1, "all pictures looked at are grey")
    _choose_held_out(chosen, data, source, section(said, "data", "source"))
    choose_networks(chosen, shorter, len(source), device, said)
    if compiles_quickly(device):
        chosen.take("compile", True, "a step of ViT-S takes 94 ms instead of 156 (H100)")
    choose_schedule(chosen, len(source), device, said)
    chosen.take("folder", _folder_name(data), "continue with the same command")
    return chosen.content, chosen.table(given or {})


def _choose_values(chosen: Choices, source: Source) -> Source:
    """The range of arrays of more than 8 bits: within all of 16 bits they would be nearly black."""
    settings = decoding_of(source)
    if settings is None or settings.values is not None:
        return source
    try:
        if isinstance(source, ArraySource):
            looked = look_at_stored(source, NUM_LOOKED_AT)
        else:
            looked = look_at_values(settings, NUM_LOOKED_AT)
    except ValueError:  # none of them can be read: `look_at` tells why
        return source
    found = looked.suggested() if looked else None
    if looked is None or found is None:
        return source
    number = f"{looked.num_pictures} {looked.type} picture{'s' * (looked.num_pictures != 1)}"
    why = f"99 of 100 values of {number} lie within; others become black or white"
    chosen.take("data.source.values", list(found), why)
    if isinstance(source, ArraySource):
        return source.reading(found)
    read: Any = settings.model_copy(update={"values": found})
    return build_source(read)


def look_at(source: Source) -> tuple[int, bool]:
    """The median shorter side of a sample of the pictures, and whether all of them are grey."""
    chosen = source.some(NUM_LOOKED_AT, 0, "look")
    sides, grey, reason = [], True, ""
    for index in chosen:
        try:
            picture = source.sample(int(index)).picture
        except BrokenPicture as error:
            reason = str(error)
            continue
        sides.append(min(picture.shape[:2]))
        grey = grey and bool((picture == picture[:, :, :1]).all())
    if not sides:
        advice = "; say how many with data.source.channels=NUMBER" if "channels" in reason else ""
        raise ValueError(f"none of {len(chosen)} pictures can be read, e.g. {reason}{advice}")
    return int(np.median(sides)), grey


def held_out_part(
    data: str | Path, source: Source, said: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Settings of the part beside the training part that has its classes; None without one."""
    found = guess_parts(data, source.num_channels)
    parts = {name: as_said(part, {**(said or {}), "split": name}) for name, part in found.items()}
    for name in [kind for kind in _HELD_OUT if kind in parts]:
        try:
            part = build_source(parts[name])
        except ValueError:  # it holds no pictures
            continue
        if part.classes == source.classes:
            return written(parts[name])
    return None


def written(settings: BaseModel) -> dict[str, Any]:
    """As in a YAML file: what differs from the defaults, and the kind."""
    kind = {"kind": settings.model_dump()["kind"]}
    return kind | settings.model_dump(mode="json", exclude_defaults=True)


def as_said(settings: S, said: Mapping[str, Any]) -> S:
    """The settings with what was said about the source, as far as it is of their kind."""
    known = {name: value for name, value in said.items() if name in type(settings).model_fields}
    return check(type(settings), {**written(settings), **known})


def _choose_source(
    chosen: Choices, data: str | Path | Source | None, said: Mapping[str, Any]
) -> Source:
    if isinstance(data, Source):
        chosen.take("data.source.kind", "arrays", "given by the program")
        chosen.content["data"]["source"] |= {"path": MEMORY, "channels": data.num_channels}
        if isinstance(data, ArraySource) and data.settings.values:
            chosen.content["data"]["source"]["values"] = list(data.settings.values)
        return data
    if data is None:
        chosen.take("data.source.kind", SCENES, "no --data given: built-in procedural scenes")
        return build_source(guess_source(SCENES))
    settings = as_said(guess_source(data), said)
    chosen.take("data.source.kind", settings.kind, "--data")
    chosen.content["data"]["source"] = written(settings)
    return build_source(settings)


def _choose_held_out(
    chosen: Choices,
    data: str | Path | Source | None,
    source: Source,
    said: Mapping[str, Any],
) -> None:
    """Pictures that judge the online probe and are never trained on."""
    if isinstance(data, Source):
        return
    if data is None or data == SCENES:
        chosen.take("data.validation.kind", SCENES, "scenes that training never sees")
        held_out = {"first": 20_000, "num_pictures": 2_000}
        chosen.content["data"]["validation"].update(held_out)
        return
    part = held_out_part(data, source, said)
    if part:
        why = f"{part.get('split', 'another part')} judges the online probe"
        chosen.take("data.validation.kind", part["kind"], why)
        read_alike = {"channels", "values"} & chosen.content["data"]["source"].keys()
        alike = {name: chosen.content["data"]["source"][name] for name in read_alike}
        chosen.content["data"]["validation"] = part | alike


def _folder_name(data: str | Path | Source | None) -> str:
    if isinstance(data, Source):
        return f"runs/{MEMORY}"
    return f"runs/{SCENES if data is None else short_name(data)}"
