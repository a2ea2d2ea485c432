"""`jepa export`: weights in the form that another library opens, compared before it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import field_validator
from rich.console import Console
from torch import Tensor

from jepakit.core.randomness import generator
from jepakit.core.settings import Settings
from jepakit.data.broken_pictures import reason_of
from jepakit.data.loader import evaluation_loader
from jepakit.data.normalization import Normalizer
from jepakit.data.sources import Source, build_source, guess_source
from jepakit.data.sources.arrays import ArraySource
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.models.patches import as_pair
from jepakit.pretrained.companions import FACTS, main_network
from jepakit.pretrained.hub import is_hub_name, publish
from jepakit.pretrained.onnx import OnnxEncoder, OnnxPrecision
from jepakit.pretrained.resizing import resized
from jepakit.pretrained.weights import Branch, Weights
from jepakit.runs.export import FORMATS, Format, check_ending, export_weights, main_encoder
from jepakit.runs.loaded import Loaded
from jepakit.runs.model_card import write_card
from jepakit.runs.own_pictures import PicturesGone, own_pictures
from jepakit.runs.rounding_loss import rounding_loss
from jepakit.runs.trained import NOT_RECORDED
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import check

_NUM_PICTURES = 4
_NUM_SCENES = 64
_CPU = torch.device("cpu")


class ExportOptions(Settings):
    """What may be chosen beside source and destination."""

    branch: Branch = "target"
    size: tuple[int, int] | None = None
    precision: OnnxPrecision = "fp32"
    data: str | None = None
    licence: str = "unknown"
    push: str | None = None
    private: bool = False
    overwrite: bool = False
    revision: str | None = None
    partial: bool = False

    @field_validator("size", mode="before")
    @classmethod
    def _from_words(cls, size: Any) -> Any:
        """`224` or `224,192`."""
        if not isinstance(size, str):
            return size
        sides = size.split(",")
        return sides * 2 if len(sides) == 1 else sides


def export_named(name: str, to: str, out: Path, options: dict[str, Any]) -> int:
    """As on the command line; options that are None are left at their defaults."""
    given = {key: value for key, value in options.items() if value is not None}
    return export(name, to, out, check(ExportOptions, given))


def export(name: str, to: str, out: Path, options: ExportOptions) -> int:
    """Load, write, read again, compare, put in place; then publish if asked."""
    console = Console(soft_wrap=True, highlight=False)
    format = _checked(to, out, options)
    check_replaceable(name, out)
    loaded = load_weights(name, _CPU, options.branch, options.revision, options.partial)
    console.print(loaded.report.sentence, style="dim")
    weights = resized(loaded.weights(), options.size or loaded.size)
    if values := loaded.values:
        told = (
            f"mind: in the training {values[0]:g} became black and {values[1]:g} white, which "
            "jepakit knows from the export: for other programs, scale pictures so (0 to 1) before "
            "they are normalised"
        )
        console.print(told, style="yellow", markup=False)
    source, words = _pictures(loaded, options.data, console)
    views = comparison_pictures(weights, source, words)
    published = options.push or str(out)

    def card(folder: Path) -> None:
        if format == "huggingface":
            write_card(loaded, weights, folder, options.licence, published)

    differences = export_weights(
        *(weights, format, out, views),
        precision=options.precision,
        overwrite=options.overwrite,
        also=card,
    )
    for difference in differences:
        console.print(f"  {difference}")
    if options.precision != "fp32":
        console.print(f"  {options.precision}, {words}, {_loss(weights, out, source)}")
    largest = max(max(d.tokens, d.pooled) for d in differences)
    console.print(f"{out}: {_written(weights, format)}; largest difference {largest:.2g}")
    if options.push:
        console.print(f"published: {publish(out, options.push, options.private)}")
    return 0


def _checked(to: str, out: Path, options: ExportOptions) -> Format:
    """The format, after everything that can be refused before the work."""
    if to not in FORMATS:
        raise ValueError(f"--to {to} is unknown: choose one of {', '.join(FORMATS)}")
    format: Format = to  # type: ignore[assignment]
    check_ending(format, out)
    if options.precision != "fp32" and format != "onnx":
        raise ValueError(f"--precision {options.precision} is for --to onnx: leave it out")
    if options.push is not None and format != "huggingface":
        raise ValueError("--push publishes what --to huggingface writes: choose that")
    if options.push is not None and not is_hub_name(options.push):
        raise ValueError(f"{options.push!r} is no name on the Hub: write --push ORG/NAME")
    return format


def _written(weights: Weights, format: Format) -> str:
    """What is in it now, in words."""
    alone = format in ("onnx", "torch-export")
    names = [main_network(weights)] if alone else list(weights.networks)
    return f"the {', the '.join(name.replace('_', ' ') for name in names)} for {format}"


def check_replaceable(name: str, out: Path) -> None:
    """`ValueError` where writing to `out` would destroy anything but an earlier export."""
    if not out.exists():
        return
    source, target = Path(name.partition(":")[2] or name).resolve(), out.resolve()
    if target == source or target in source.parents or source in target.parents:
        raise ValueError(f"{out} holds, or is part of, what is exported: choose another place")
    if out.is_dir() and not (out / FACTS).is_file():
        raise ValueError(
            f"{out} is a folder that no export wrote, and is never replaced: choose another place"
        )


def _pictures(loaded: Loaded, data: str | None, console: Console) -> tuple[Source, str]:
    """Pictures to compare with: those named, else the run's own, else the built-in scenes."""
    channels = loaded.encoder.num_channels
    if data is not None:
        return build_source(guess_source(data, channels)), f"pictures of {data}"
    config = loaded.config
    if config is not None and str(getattr(config.data.source, "path", "")) != NOT_RECORDED:
        try:
            return own_pictures(config), "the run's pictures"
        except PicturesGone as error:
            told = f"compared on built-in scenes instead: {error}"
            console.print(told, style="dim", markup=False)
    scenes = build_source(ProceduralScenes.Settings(num_pictures=_NUM_SCENES))
    if channels == 3:
        return scenes, "built-in scenes"
    grey = np.stack([scenes.sample(n).picture.mean(axis=2) for n in range(_NUM_SCENES)])
    alike = np.repeat(grey.astype(np.uint8)[..., None], channels, axis=3)
    return ArraySource.of(alike, layout="channels_last"), "built-in scenes in grey"


def comparison_pictures(weights: Weights, source: Source, words: str) -> dict[str, Tensor]:
    """Normalised: real ones, random ones, and random ones of another size."""
    description = weights.description
    normalise = Normalizer(description.normalization)
    indices = range(min(_NUM_PICTURES, len(source)))
    real = [views for views, _, _ in evaluation_loader(source, description.size, indices)]
    if not real:
        raise ValueError(
            f"none of the first {len(indices)} of {words} can be read{reason_of(source, indices)}: "
            "name others to compare on, --data PICTURES"
        )
    patch = as_pair(description.encoder.patch)
    larger = [
        (side // unit * 3 // 2) * unit for side, unit in zip(description.size, patch, strict=True)
    ]
    sizes = {
        "random pictures": description.size,
        "random pictures of another size": (larger[0], larger[1]),
    }
    random = generator(0, "export")
    return {
        words: normalise(torch.cat(real)),
        **{
            told: normalise(
                torch.from_numpy(
                    random.integers(0, 256, (2, description.num_channels, *size), dtype="uint8")
                )
            )
            for told, size in sizes.items()
        },
    }


def _loss(weights: Weights, out: Path, source: Source) -> str:
    runtime = OnnxEncoder(out)
    normalise = Normalizer(weights.description.normalization)
    encoder = main_encoder(weights)
    size = weights.description.size
    return str(rounding_loss(encoder, lambda v: runtime(v)[1], source, normalise, size))
