"""jepa report: everything about a run on one page, from what its folder holds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from jepakit.commands.evaluate import main_columns
from jepakit.core.devices import choose_device, choose_precision
from jepakit.evaluation.comparison import Comparison
from jepakit.runs.keeping import open_source
from jepakit.runs.report import SHOWN, write_report
from jepakit.runs.seeing.decoder import check_same_model, open_decoder
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.settings import SeeingSettings, What
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import apply_overrides, check


def report(
    run: Path, words: Sequence[str], out: Path | None, decoder: str | None, device: str
) -> int:
    """Write the page, and say where it is."""
    console = Console()
    looking = looking_at_run(run, device, words, decoder)
    trained = looking.loaded.trained
    scores = trained.folder.scores if trained else run
    comparison = Comparison.load(scores) if scores.is_file() else None
    if comparison is None:
        console.print(f"no scores yet: jepa evaluate {run} makes them", style="dim", markup=False)
    columns = main_columns(comparison) if comparison else []
    given = ["--decoder", decoder] if decoder else []
    what: tuple[What, ...] = (*SHOWN, "imagine") if decoder else SHOWN
    config = str(run / "config.yaml")
    lines = [["pretrain", config, "folder=runs/again"], ["evaluate", "runs/again"]]
    lines.append(["report", "runs/again", *given, *words])
    command = "\n".join(shlex.join(["jepa", *line]) for line in lines)
    tell = lambda line: console.print(line, style="dim")  # noqa: E731
    page = write_report(looking, comparison, columns, command, out, what, tell)
    console.print(f"open {page.resolve()}", markup=False, highlight=False, soft_wrap=True)
    return 0


def looking_at_run(
    run: Path, device: str = "auto", words: Sequence[str] = (), decoder: str | None = None
) -> Looking:
    """A run and its held-out pictures, or its own where there are none. Raises `ValueError`."""
    settings = check(SeeingSettings, apply_overrides({}, words))
    chosen = choose_device(device)
    loaded = load_weights(str(run), chosen)
    if loaded.trained is None:
        raise ValueError(f"{run} is no run folder: jepa visualize draws other models")
    config = loaded.trained.config
    source = open_source(config.data.validation or config.data.source, config)
    precision = choose_precision(chosen, config.precision)
    drawing = open_decoder(decoder, chosen, precision) if decoder else None
    if drawing is not None:
        check_same_model(drawing, loaded)
    return Looking(loaded, source, loaded.size, settings, chosen, precision, drawing)
