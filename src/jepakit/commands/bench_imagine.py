"""jepa bench imagine: whether a decoder draws what was hidden, beside three controls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jepakit.commands.counted_work import CountedSteps
from jepakit.core.devices import choose_device, choose_precision
from jepakit.core.files import write_text
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.runs.given_pictures import open_given
from jepakit.runs.seeing.decoder import Decoder, check_same_model, open_decoder
from jepakit.runs.seeing.imagine_scores import distances, foreign_rows, judge_scenes
from jepakit.runs.seeing.imagined import box_on
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.settings import SeeingSettings
from jepakit.runs.seeing.untrained import untrained_trio
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import apply_overrides, check


def bench_imagine(
    model: str,
    decoder: str,
    words: Sequence[str],
    data: str | None,
    out: Path | None,
    device: str,
) -> int:
    """Print the table, of scenes or of the pictures that are named; write JSON if asked for."""
    console = Console()
    settings = check(SeeingSettings, apply_overrides({}, words))
    chosen = choose_device(device)
    precision = choose_precision(chosen, "auto")
    loaded, opened = load_weights(model, chosen), open_decoder(decoder, chosen, precision)
    check_same_model(opened, loaded)
    size, channels = opened.loaded.size, loaded.encoder.num_channels
    if data is None:
        source: Any = ProceduralScenes(ProceduralScenes.Settings(size=size))
    else:
        source = list(open_given(data, channels).values())[-1]
    counting = CountedSteps(console)
    looking = Looking(loaded, source, size, settings, chosen, precision, opened, counting)
    console.print(f"{settings.imagine.pictures} pictures (imagine.pictures), samples of {decoder}")
    score = _on_scenes if data is None else _on_photographs
    try:
        table, text = score(looking, opened)
    except KeyboardInterrupt:
        return counting.exit_code
    console.print(table)
    if foreign := foreign_rows(opened):
        console.print(foreign, markup=False, highlight=False)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text + "\n")
        console.print(f"written: {out}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _on_scenes(looking: Looking, decoder: Decoder) -> tuple[Table, str]:
    settings, counting = looking.settings.imagine, looking.counting
    comparison = judge_scenes(decoder, untrained_trio(looking), settings, counting=counting)
    return comparison.table(), comparison.model_dump_json(indent=2)


def _on_photographs(looking: Looking, decoder: Decoder) -> tuple[Table, str]:
    settings = looking.settings.imagine
    views, box = looking.others(settings.pictures, "imagine"), box_on(looking)
    found = distances(decoder, untrained_trio(looking), views, box, settings, looking.counting)
    text = json.dumps({"num_pictures": len(views), "distances": found}, indent=2)
    return _table(found, len(views)), text


def _table(found: dict[str, dict[str, float]], number: int) -> Table:
    table = Table(title=f"Distances to the real content of {number} boxes; smaller is better")
    table.add_column("told")
    columns = list(next(iter(found.values())))
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for name, numbers in found.items():
        table.add_row(name, *(f"{numbers[column]:.3f}" for column in columns))
    return table
