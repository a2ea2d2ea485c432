"""`jepa plan --failures`: time lost to failures and stragglers, and how often to save."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from jepakit.commands.plan import read_plan
from jepakit.core.accelerators import Cluster
from jepakit.core.errors import RunFailed
from jepakit.core.files import write_text
from jepakit.models.memory import FULL
from jepakit.runs.config import RunConfig
from jepakit.runs.planning.failures import (
    LATE,
    NUM_TRIALS,
    RESTART,
    WRITE,
    Conditions,
    Outcome,
    daly,
    expected_hours,
    outcome,
    young,
)
from jepakit.runs.planning.plan import make_plan
from jepakit.runs.planning.speed import Network
from jepakit.visualization.lost_time_drawing import draw_lost_time

COUNTS = tuple(8 * 2**power for power in range(8))  # 8 to 1,024
WORSE = (1.0, 0.1)  # times the hours between failures: as given, and ten times as often
DEFAULT = 0.25  # hours: checkpoint.every_minutes


def plan_failures(
    config: Path,
    overrides: Sequence[str],
    gpus: str,
    share: str | None,
    pictures: int | None,
    per_node: int,
    network: float,
    hours_between: float,
    seed: int,
    out: Path | None,
) -> int:
    """Simulate the run on 8 to 1,024 GPUs of the kind; table, and files in `out`."""
    console = Console(width=None if sys.stdout.isatty() else 118)
    resolved, made, links, of_peak, _ = read_plan(
        config, overrides, gpus, share, pictures, per_node, network
    )
    save = FULL * (3 * made.sizes.trained + made.sizes.target) / WRITE / 3600
    work = hours_of_work(resolved, made.cluster, made.pictures, of_peak, links)
    outcomes = [
        outcome(Conditions(count, hours, save, hours_between * worse), seed)
        for worse in WORSE
        for count, hours in work.items()
    ]
    console.print(_table(outcomes))
    console.print(_words(made.cluster.name, outcomes, seed), markup=False, highlight=False)
    if out is not None:
        _write(out, outcomes, len(work), seed)
        console.print(f"written: {out}/failures.json, {out}/failures.svg", highlight=False)
    return 0


def hours_of_work(
    config: RunConfig, cluster: Cluster, pictures: int, share: float, links: Network
) -> dict[int, float]:
    """Hours of the same run, its batch unchanged, on each number of GPUs that divides the batch."""
    batch = config.batch.model_copy(update={"device": "auto"})
    free = config.model_copy(update={"batch": batch})
    found = {}
    for count in COUNTS:
        if config.batch.size % count:
            continue
        made = make_plan(free, cluster._replace(number=count), pictures, share, links)
        if made.best is not None:
            found[count] = made.hours(made.best)
    if not found:
        raise RunFailed(
            f"batch.size={config.batch.size} does not divide over any of {list(COUNTS)} GPUs, or "
            f"nothing fits on {cluster.name}: see `jepa plan` without --failures"
        )
    return found


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="Failures and stragglers", title_justify="left")
    for name in (
        *("GPUs", "hours between failures", "hours of work", "save every, min", "as good, min"),
        *("Young, min", "Daly, min", "lost, %", "by formula, %", "at 15 min, %", "late GPUs, %"),
    ):
        table.add_column(name, justify="right")
    before = None
    for one in outcomes:
        c = one.conditions
        if before not in (None, c.hours_between):
            table.add_section()
        before = c.hours_between
        numbers = (
            *(60 * one.recommended, 60 * one.as_good[0], 60 * one.as_good[1]),
            *(60 * young(c), 60 * daly(c), 100 * min(one.lost)),
            *(100 * (1 - c.work / expected_hours(c, one.recommended)), 100 * one.lost_at(DEFAULT)),
            100 * (1 - 1 / c.straggling()),
        )
        best, low, high, *others = (f"{number:.1f}" for number in numbers)
        good = f"{float(low):.0f}-{float(high):.0f}"
        first = (str(c.num_gpus), f"{c.between:,.1f}", f"{c.work:,.1f}")
        table.add_row(*first, best, good, *others)
    return table


def _words(name: str, outcomes: Sequence[Outcome], seed: int) -> str:
    c = outcomes[0].conditions
    return (
        f"{name}; one GPU fails every {c.hours_between:,.0f} hours on average (below: ten times as "
        f"often); a checkpoint takes {3600 * c.save:.1f} s at {WRITE / 1e9:.0f} GB/s, a restart "
        f"{60 * RESTART:.0f} min; in a step a GPU is late by {LATE:.0%} on average. "
        f"{NUM_TRIALS} runs each, seed {seed}. Lost: share of the hours that is not work, "
        "waiting for late GPUs included; as good: hardly more is lost (0.1 points)."
    )


def _write(folder: Path, outcomes: Sequence[Outcome], num_counts: int, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            **asdict(one),
            "recommended": one.recommended,
            "as_good": one.as_good,
            "young": young(one.conditions),
            "daly": daly(one.conditions),
        }
        for one in outcomes
    ]
    content = {"seed": seed, "trials": NUM_TRIALS, "hours": True, "outcomes": rows}
    write_text(folder / "failures.json", json.dumps(content, indent=1) + "\n")
    shown = outcomes[:num_counts]
    every = shown[0].conditions.hours_between
    drawing = draw_lost_time(
        f"Time lost, a GPU failing every {every:,.0f} hours",
        shown[0].intervals,
        {f"{one.conditions.num_gpus} GPUs": one.lost for one in shown},
        [(daly(one.conditions), one.lost_at(daly(one.conditions))) for one in shown],
    )
    write_text(folder / "failures.svg", drawing)
