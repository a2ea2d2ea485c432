"""`jepa pretrain --data PICTURES`: settings for these pictures on this device, with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
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
from jepakit.data.sources.guess import SCENES
from jepakit.data.sources.picture_files import Decoding
from jepakit.runs.channel_values import look_at_values
from jepakit.runs.yaml_file import check

NUM_LOOKED_AT = 64
_HELD_OUT = ("val", "test")
S = TypeVar("S", bound=BaseModel)
RGB = 3  # channels
MEMORY = "memory"  # stands for the path of pictures that a program has
FEWEST = 2  # pictures; fewer cannot differ from each other
SIDE_FOR_64, SIDE_FOR_224 = 48, 128  # pixels: from this shorter side on, views of that size
FEW, MANY = 100_000, 500_000  # pictures: below FEW the data is small, above MANY it is large


@dataclass
class Choices:
    """Settings chosen so far, and why."""

    content: dict[str, Any] = field(default_factory=dict)
    reasons: list[tuple[str, str, str]] = field(default_factory=list)

    def take(self, name: str, value: Any, why: str) -> None:
        """Choose a setting."""
        place = self.content
        *path, last = name.split(".")
        for key in path:
            place = place.setdefault(key, {})
        place[last] = value
        self.reasons.append((name, str(value), why))

    def table(self, given: Mapping[str, str]) -> Table:
        """What was chosen and why; what was `given` has the last word."""
        table = Table(title="Chosen for these pictures and this device", title_justify="left")
        for heading in ("setting", "value", "why"):
            table.add_column(heading, overflow="fold")
        for row in self.reasons:
            if not any(row[0] == name or row[0].startswith(f"{name}.") for name in given):
                table.add_row(*row)
        for name, value in given.items():
            table.add_row(name, value, "as you wrote")
        return table


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
    source = _choose_source(chosen, data, _section(said, "data", "source"))
    if len(source) < FEWEST:
        raise ValueError(f"{data} holds {len(source)} picture: add some, {FEWEST} are the fewest")
    source = _choose_values(chosen, source)
    shorter, grey = look_at(source)
    if grey and source.num_channels == RGB and _has_channels(source):
        chosen.take("data.source.channels", 1, "all pictures looked at are grey")
    _choose_held_out(chosen, data, source, _section(said, "data", "source"))
    if device.type == "cuda" and shorter >= SIDE_FOR_224:
        _choose_vit(chosen, shorter, len(source))
    else:
        _choose_small_vit(chosen, shorter, len(source), device, said)
    if compiles_quickly(device):
        chosen.take("compile", True, "a step of ViT-S takes 94 ms instead of 156 (H100)")
    _choose_schedule(chosen, len(source), device, _epochs(said))
    chosen.take("folder", _folder_name(data), "continue with the same command")
    return chosen.content, chosen.table(given or {})


def _choose_values(chosen: Choices, source: Source) -> Source:
    """The range of arrays of more than 8 bits: within all of 16 bits they would be nearly black."""
    settings = getattr(source, "settings", None)
    if not isinstance(settings, Decoding) or settings.values is not None or not _in_files(settings):
        return source
    try:
        looked = look_at_values(settings, NUM_LOOKED_AT)
    except ValueError:  # none of them can be read: `look_at` tells why
        return source
    found = looked.suggested() if looked else None
    if looked is None or found is None:
        return source
    why = f"99 of 100 {looked.type} values lie within, of {NUM_LOOKED_AT} pictures at most"
    chosen.take("data.source.values", list(found), why)
    read: Any = settings.model_copy(update={"values": found})
    return build_source(read)


def _in_files(settings: Any) -> bool:
    return str(getattr(settings, "path", "")) != MEMORY


def _has_channels(source: Source) -> bool:
    return isinstance(getattr(source, "settings", None), Decoding)


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


def _section(content: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for name in path:
        inner = content.get(name)
        content = inner if isinstance(inner, dict) else {}
    return content


def _epochs(said: Mapping[str, Any]) -> float | None:
    epochs = _section(said, "optimization").get("epochs")
    return float(epochs) if isinstance(epochs, (int, float)) and epochs > 0 else None


def _choose_source(
    chosen: Choices, data: str | Path | Source | None, said: Mapping[str, Any]
) -> Source:
    if isinstance(data, Source):
        chosen.take("data.source.kind", "arrays", "given by the program")
        chosen.content["data"]["source"] |= {"path": MEMORY, "channels": data.num_channels}
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


def _choose_vit(chosen: Choices, shorter: int, count: int) -> None:
    name = "vit_base" if count >= MANY else "vit_small"
    told = f"{count} pictures, shorter side {shorter} px, on cuda"
    chosen.take("data.view.size", 224, f"the usual size; {told}")
    chosen.take("encoder.size", name, "as large as that many pictures feed")
    chosen.take("encoder.patch", 16, "a grid of 14 x 14")
    if count >= FEW:
        chosen.take("predictor.depth", 6, "the paper's for ViT-B")
        return
    why = "half the cost of the paper's 384 x 6; measured: results/imagenette-gpu"
    chosen.take("predictor.width", 192, why)
    chosen.take("predictor.depth", 4, "as the width: measured there")
    chosen.take("predictor.num_heads", 3, "64 numbers per head")


def _choose_small_vit(
    chosen: Choices, shorter: int, count: int, device: torch.device, said: Mapping[str, Any]
) -> None:
    told = f"{count} pictures, shorter side {shorter} px, on {device.type}"
    size = 64 if shorter >= SIDE_FOR_64 else max(24, shorter // 8 * 8)
    patch = 8 if size >= SIDE_FOR_64 else 4
    width = 384 if device.type == "cuda" else 192
    in_minutes = device.type != "cuda" and size == 64
    if in_minutes and "size" not in _section(said, "data", "view"):
        size = 48
        chosen.take("data.view.size", size, f"half the cost of 64 px; {told}")
        chosen.take("data.test_size", 64, "for scores: things are as large as in crops of 48 px")
    else:
        chosen.take("data.view.size", size, f"trains in reasonable time; {told}")
    grid = "" if "size" in _section(said, "data", "view") else f" {size // patch} x {size // patch}"
    chosen.take("encoder.patch", patch, f"a coarse grid{':' if grid else ''}{grid}")
    chosen.take("encoder.width", width, "a small ViT learns well from small pictures")
    chosen.take("encoder.depth", 6, "half of ViT-S: so small a grid needs no more")
    chosen.take("encoder.num_heads", width // 64, "64 numbers per head")
    chosen.content["encoder"]["size"] = None
    if in_minutes:
        why = "in minutes of training better than blocks; measured: results/imagenette-cpu"
        if not _section(said, "masking"):
            chosen.take("masking.kind", "random", why)
        chosen.take("predictor.width", width, "the encoder's; measured: results/imagenette-cpu")
        chosen.take("predictor.depth", 1, "a deep predictor on little data learns in its place")
    else:
        chosen.take("predictor.width", width // 2, "half of the encoder's width")
        chosen.take("predictor.depth", 3, "a deep predictor on little data learns in its place")
    chosen.content["predictor"]["num_heads"] = width // 64


def _choose_schedule(
    chosen: Choices, count: int, device: torch.device, epochs: float | None
) -> None:
    on_gpu = device.type == "cuda"
    wanted = (2048 if count >= MANY else 512 if count >= FEW else 256) if on_gpu else 32
    batch = wanted if count >= 8 * wanted else max(2, 2 ** int(np.log2(max(count / 8, 2))))
    views = 30_000_000 if on_gpu else 300_000
    why = "the same pictures in small batches make more steps" if batch < 2048 else "the paper's"
    chosen.take("batch.size", batch, why)
    if epochs is None:
        epochs = int(np.clip(round(views / count), 10 if on_gpu else 1, 600 if on_gpu else 200))
    chosen.take("optimization.epochs", epochs, f"{epochs * count:,.0f} views in all")
    chosen.take("optimization.warmup_epochs", epochs / 10, "a tenth of the run")
    chosen.take("optimization.lr", 1e-3, "the paper's")
    if count < FEW:
        why = "without it features collapse on small data (docs/guides/small-data.md)"
        chosen.take("objective.regulariser.kind", "vicreg", why)
        chosen.take("objective.regulariser.weight", 0.05, "best of .01 and .05 in trials")
        last = 0.9999 if on_gpu else 0.999
        chosen.take("objective.ema", [0.99, last], "few steps: targets must follow, to the end")
    why = "the paper's at ViT-B, and strong enough for narrower networks"
    chosen.take("encoder.initialisation", "fan_in", why)
    chosen.take("predictor.initialisation", "fan_in", why)
    chosen.take("data.normalization", "data", "measured on the pictures")
    why = "pixels stay decoded, on disk or on a GPU, if a quarter of the memory has room for them"
    chosen.take("data.keep_decoded", "auto", why)


def _folder_name(data: str | Path | Source | None) -> str:
    if isinstance(data, Source):
        return f"runs/{MEMORY}"
    return f"runs/{SCENES if data is None else short_name(data)}"
