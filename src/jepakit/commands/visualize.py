"""jepa visualize: what a model sees, holds and expects, as PNG files and one page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from jepakit.commands.counted_work import CountedSteps
from jepakit.core.devices import choose_device, choose_precision
from jepakit.core.files import made_in, told_if_full
from jepakit.core.settings import Settings
from jepakit.data.sources.guess import short_name
from jepakit.runs.channel_values import doubt_about_values
from jepakit.runs.given_pictures import parse_values
from jepakit.runs.loaded import Loaded
from jepakit.runs.model_inputs import ModelInputs
from jepakit.runs.seeing.decoder import open_decoder
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.page import show, write_shown
from jepakit.runs.seeing.pictures import pictures_to_show
from jepakit.runs.seeing.settings import SeeingSettings, parse_what
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import apply_overrides, check


class Asked(Settings):
    """What was typed."""

    model: str
    data: str | None
    what: str | None
    out: Path | None
    decoder: str | None = None
    size: int | None
    device: str
    precision: Literal["auto", "fp32", "bf16"]
    split: str | None
    values: str | None


def visualize(typed: Mapping[str, Any], words: Sequence[str]) -> int:
    """Draw what was asked for; say where the page is."""
    console = Console()
    asked = check(Asked, dict(typed))
    what = parse_what(asked.what)
    settings = check(SeeingSettings, apply_overrides({}, words))
    loaded, looking = open_looking(asked, settings)
    for told in (loaded.report.sentence, doubt_about_values(looking.source)):
        if told:
            console.print(told, style="dim", markup=False, soft_wrap=True)
    folder = asked.out or folder_for(loaded)
    if folder.is_file():
        raise ValueError(f"{folder} is a file: name a folder after --out")
    made_in(folder.parent)  # told before minutes of drawing
    counting = CountedSteps(console)
    looking = replace(looking, counting=counting)
    try:
        shown, missing = show(looking, what, lambda line: console.print(line, style="dim"))
    except KeyboardInterrupt:
        return counting.exit_code
    with told_if_full(folder):
        page = write_shown(shown, missing, loaded.name, _command(asked, words), folder)
    console.print(f"open {page.resolve()}", markup=False, highlight=False, soft_wrap=True)
    return 0


def open_looking(asked: Asked, settings: SeeingSettings) -> tuple[Loaded, Looking]:
    """The model and its pictures: those that are named, or a run's own held-out ones."""
    device = choose_device(asked.device)
    loaded = load_weights(asked.model, device)
    size = ModelInputs(loaded).centre_view(asked.size).size
    source = pictures_to_show(loaded, asked.data, parse_values(asked.values), asked.split)
    precision = choose_precision(device, asked.precision)
    decoder = open_decoder(asked.decoder, device, precision) if asked.decoder else None
    return loaded, Looking(loaded, source, size, settings, device, precision, decoder)


def folder_for(loaded: Loaded) -> Path:
    """Where the drawings go: into the run's folder, or into one by the model's name."""
    if loaded.trained is not None:
        return loaded.trained.folder.drawings
    return Path("visualize") / short_name(loaded.name)


def _command(asked: Asked, words: Sequence[str]) -> str:
    parts = ["jepa", "visualize", asked.model]
    for name in ("data", "what", "out", "decoder", "size", "split", "values"):
        if (value := getattr(asked, name)) is not None:
            parts += [f"--{name}", str(value)]
    return shlex.join([*parts, *words])
