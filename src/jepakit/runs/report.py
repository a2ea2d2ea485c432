"""One page about a run: what it was, whether it is healthy, what it scores, what it sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from jepakit.core.durations import in_words
from jepakit.evaluation.comparison import Comparison
from jepakit.objectives import IJepa
from jepakit.runs.config import RunConfig
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.maps import colour_strips
from jepakit.runs.seeing.page import show
from jepakit.runs.seeing.settings import What
from jepakit.runs.trained import Trained
from jepakit.runs.verdicts import verdicts
from jepakit.runs.yaml_file import to_yaml
from jepakit.version import __version__
from jepakit.visualization import (
    Code,
    Facts,
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    draw_curves,
    read_metrics,
    write_page,
)
from jepakit.visualization.curves import Curve

SHOWN: tuple[What, ...] = ("masks", "maps", "energy", "retrieval")


@dataclass(frozen=True)
class Judged:
    """What an evaluation found, which of its columns are worth a place, and on which pictures."""

    comparison: Comparison
    columns: Sequence[str]
    pictures: str


def write_report(
    trained: Trained,
    looking: Looking | None,
    evaluations: Sequence[Judged],
    command: str,
    page: Path | None = None,
    what: Sequence[What] = SHOWN,
    tell: Callable[[str], None] = lambda line: None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the page of a run, `report.html` in its folder or elsewhere; returns where it is.

    Without `looking` nothing is drawn. `command` are the lines that make it again. `notes` stand
    beside the scores: what has to be known to judge them. What cannot be drawn is said on the page.
    """
    config, folder = trained.config, trained.folder
    curves = read_metrics(folder.metrics) if folder.metrics.exists() else {}
    sections: list[Section] = []
    for judged in evaluations:
        sections += _scores(judged, told_apart=len(evaluations) > 1)
    sections += [Text(note, tone="warning") for note in notes]
    sections += _health(trained, curves)
    sections.append(_facts(looking, trained, curves))
    if looking is not None:
        sections += _drawn(looking, trained, what, tell)
    if curves:
        sections.append(_curves(curves))
    sections.append(Code(command, heading="How to do this again"))
    sections.append(Code(to_yaml(config), heading="All settings"))
    path = page or folder.page
    write_page(
        path,
        title=f"jepakit: {folder.path.resolve().name}",
        sections=sections,
        lead="An encoder that learned from pictures alone, by predicting the representations of "
        "hidden parts from the visible rest.",
        footer=f"written by jepakit {__version__}",
    )
    return path


def _drawn(
    looking: Looking, trained: Trained, what: Sequence[What], tell: Callable[[str], None]
) -> list[Section]:
    shown, missing = show(looking, what, tell)
    sections: list[Section] = [_maps(looking, trained)]
    sections += [Text(f"Not drawn. {reason}.", tone="warning") for reason in missing]
    sections += [section for part in shown.values() for section in part.sections]
    return sections


def _health(trained: Trained, curves: dict[str, Curve]) -> list[Section]:
    learns = isinstance(trained.config.objective, IJepa.Settings)
    width = trained.objective.kept_encoder().width if learns else None
    if not curves:
        words = "This run has no metrics.csv, so nothing can be said about its health."
        return [Text(words, heading="Is it healthy?", tone="warning")]
    sections: list[Section] = []
    found = verdicts(curves, width, trained.config.monitors.probe_test, trained.step)
    for verdict in sorted(found, key=lambda verdict: verdict.good):  # warnings first
        heading = "" if sections else "Is it healthy?"
        tone: Literal["good", "warning"] = "good" if verdict.good else "warning"
        sections.append(Text(verdict.words, heading=heading, tone=tone))
    return sections


def _scores(judged: Judged, told_apart: bool) -> list[Section]:
    comparison, columns = judged.comparison, judged.columns
    rows: tuple[tuple[str | float, ...], ...] = tuple(
        (row, *(100 * comparison.value(row, column) for column in columns))
        for row in comparison.scores
    )
    header = ("features", *(_short(column) for column in columns))
    table = Table(
        header,
        rows,
        caption=f"{comparison.caption()}; linear probes and k-NN",
        heading="What the features know" + (f": {judged.pictures}" if told_apart else ""),
        best="highest",
    )
    best = next(iter(comparison.scores))
    main = [columns[-1], *(c for c in columns[:-1] if c.rpartition("/")[2].startswith("knn"))]
    margins = [comparison.margin(best, column) for column in main]
    told = ", ".join(
        f"{100 * comparison.value(best, column):.1f} % ({_short(column)}), "
        f"{100 * abs(m.value):.1f} points {'above' if m.value >= 0 else 'below'} the best baseline "
        f"(interval {100 * m.low:+.1f} to {100 * m.high:+.1f})"
        for column, m in zip(main, margins, strict=True)
    )
    unsure = [c for c, m in zip(main, margins, strict=True) if m.low <= 0 <= m.high]
    is_clear = all(m.low > 0 for m in margins)
    words = f"{best}: {told}.{_luck(comparison, best, unsure)}"
    return [table, Text(words, tone="good" if is_clear else "warning")]


def _luck(comparison: Comparison, row: str, unsure: Sequence[str]) -> str:
    """What to think of the scores whose margins may be luck."""
    if not unsure:
        return ""
    number, which = comparison.num_pictures, ", ".join(map(_short, unsure))
    if all(comparison.value(row, c) == 1 and comparison.margin(row, c).value == 0 for c in unsure):
        return f" A baseline has all right too ({which}): harder pictures would tell them apart."
    told = f" So close with {number:,} test pictures, it may be luck ({which}): "
    return f"{told}evaluate on more pictures."


def _short(column: str) -> str:
    """`nearest_colour/linear` -> `colour`; only k-NN is named, as the others are linear probes."""
    task, _, score = column.rpartition("/")
    task = task.replace("nearest_", "").replace("_class", "")
    if not task:
        return score.replace("_", " ")
    if score == "r2":
        return f"{task}, R²"
    return f"{task}, k-NN" if score.startswith("knn") else task


def _maps(looking: Looking, trained: Trained) -> Section:
    encoders = {
        "trained": trained.objective.kept_encoder(),
        "random": trained.untrained().objective.kept_encoder(),
    }
    columns = ("original", *encoders)
    return Gallery(
        tuple(
            Picture(strip, f"picture {n}: {', '.join(columns)}", columns=columns)
            for n, strip in enumerate(colour_strips(looking, encoders), 1)
        ),
        heading="Trained beside random",
        caption="The first three principal components of the tokens as red, green and blue, of the "
        "trained encoder and of one that learned nothing.",
    )


def _curves(curves: dict[str, Curve]) -> Section:
    pictures = tuple(Picture(d.svg, d.words, caption=d.title) for d in draw_curves(curves))
    return Gallery(pictures, heading="How the training went")


def _facts(looking: Looking | None, trained: Trained, curves: dict[str, Curve]) -> Section:
    config: RunConfig = trained.config
    encoder = trained.objective.kept_encoder()
    size = encoder.settings.resolved()
    millions = sum(p.numel() for p in encoder.parameters()) / 1e6
    (height, width), (rows, columns) = config.data.view.size, config.grid
    views = f"{height} x {width} pixels, {rows} x {columns} patches"
    facts = []
    if looking is not None:
        if looking.size != (height, width):
            views += (
                f"; on this page {looking.size[0]} x {looking.size[1]} pixels, {looking.grid[0]} x "
                f"{looking.grid[1]} patches"
            )
        facts.append(("pictures on this page from", f"{len(looking.source):,} {looking.origin}"))
    if trained.values:
        low, high = trained.values
        facts.append(("stored values", f"from {low:g} (black) to {high:g} (white)"))
    facts += [
        ("views", views),
        (
            "encoder",
            f"width {size.width}, depth {size.depth}, {size.num_heads} heads, "
            f"{millions:.1f} M parameters",
        ),
        ("steps", f"{trained.step or 0:,} of {config.batch.size} pictures"),
        ("epochs of the run", f"{config.optimization.epochs:g}"),
        ("masks", config.masking.kind),
        ("objective", _objective_in_words(config)),
        ("devices", ", ".join(config.devices)),
    ]
    speed = curves.get("throughput/images_per_second")
    if speed is not None and trained.step:
        per_second = float(torch.tensor(speed.values).nanmedian())
        seconds = trained.step * config.batch.size / max(per_second, 1e-9)
        facts.append(("speed", f"{per_second:,.0f} images/s"))
        facts.append(("cost", f"{in_words(seconds)} on {_devices(config)}"))
    return Facts(tuple(facts), heading="The run")


def _devices(config: RunConfig) -> str:
    number = len(config.devices)
    return f"{number} device{'' if number == 1 else 's'}"


def _objective_in_words(config: RunConfig) -> str:
    objective = config.objective
    if isinstance(objective, IJepa.Settings):
        return f"I-JEPA, regulariser {objective.regulariser.kind}"
    return f"{objective.kind.replace('_', ' ')} of {objective.model}"
