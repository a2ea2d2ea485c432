"""`jepa plan`: memory, speed, network, hours and cost of a run on GPUs that are not here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from jepakit.core.accelerators import parse_gpus
from jepakit.core.errors import RunFailed
from jepakit.runs.config import RunConfig
from jepakit.runs.planning.plan import (
    Choice,
    Plan,
    beside_published,
    count_pictures,
    make_plan,
    published_for,
    read_config,
)
from jepakit.runs.planning.speed import RING, Network, parse_share

GIB = 2**30


def read_plan(
    config: Path,
    overrides: Sequence[str],
    gpus: str,
    share: str | None,
    pictures: int | None,
    per_node: int,
    network: float,
) -> tuple[RunConfig, Plan, Network, float, str]:
    """The words of the command as a plan, with the share of the peak and where it is from."""
    cluster = parse_gpus(gpus)
    resolved = read_config(config, overrides, cluster.number)
    of_peak, source = parse_share(share, resolved.encoder.resolved().width)
    count = count_pictures(resolved, config, pictures)
    links = Network(per_node, network * 1e9 / 8)
    return resolved, make_plan(resolved, cluster, count, of_peak, links), links, of_peak, source


def plan(
    config: Path,
    overrides: Sequence[str],
    gpus: str,
    share: str | None,
    pictures: int | None,
    per_node: int,
    network: float,
    price: float | None,
) -> int:
    """Print the plan; `RunFailed` if the run fits in no way."""
    console = Console(soft_wrap=True)
    resolved, made, links, of_peak, source = read_plan(
        config, overrides, gpus, share, pictures, per_node, network
    )
    console.print(_heading(made), markup=False, highlight=False)
    for table in _tables(made, price):
        if table.columns[1:]:
            console.print(table)
    console.print(_assumptions(made, links, of_peak, source), markup=False, highlight=False)
    best = made.best
    if best is None:
        raise RunFailed(
            f"one picture does not fit on {made.cluster.name} in any way: take more or larger GPUs "
            "(FSDP2 spreads the networks over them), or a smaller encoder.size"
        )
    console.print(_advice(made, best), markup=False, highlight=False)
    published = published_for(resolved, made.pictures)
    if published is not None:
        ours = beside_published(resolved, published, made.pictures, of_peak, links)
        console.print(
            f"On {published.gpus} this recipe takes {ours:,.0f} GPU-hours by this estimate; "
            f"published: {published.gpu_hours:,.0f} ({published.where}), "
            f"{published.gpu_hours / ours:.2f} times as many: "
            f"{of_peak * ours / published.gpu_hours:.0%} of the peak instead of {of_peak:.0%}.",
            markup=False,
            highlight=False,
        )
    return 0


def _heading(plan: Plan) -> str:
    cluster, sizes = plan.cluster, plan.sizes
    return (
        f"{cluster.number} x {cluster.name}, {plan.precision}: {sizes.trained / 1e6:.1f} M "
        f"parameters that learn, {sizes.target / 1e6:.1f} M that follow; "
        f"{plan.flops.total / 1e9:.0f} GFLOP per picture and step\n"
        f"batch {plan.batch}, {plan.batch // cluster.number} per GPU; {plan.pictures:,} pictures, "
        f"{plan.steps:,} steps"
    )


def _tables(plan: Plan, price: float | None) -> list[Table]:
    """Memory of every layout, and time of those that fit; layouts side by side."""
    memory = plan.cluster.accelerator.memory / GIB
    held = [
        ("pictures at once", lambda c: str(c.micro_batch)),
        *((name, _part(name)) for name in asdict(plan.choices[0].memory)),
        ("total", lambda c: f"{c.memory.total / GIB:.2f}"),
        ("fits", lambda c: "yes" if c.fits else "no"),
    ]
    took = [
        ("passes per step", lambda c: str(plan.batch // plan.cluster.number // c.micro_batch)),
        ("arithmetic, ms", lambda c: f"{1e3 * c.time.arithmetic:.0f}"),
        ("network, ms", lambda c: f"{1e3 * c.time.network:.0f}"),
        ("of it hidden, ms", lambda c: f"{1e3 * c.time.hidden:.0f}"),
        ("images/s", lambda c: f"{plan.rate(c):,.0f}"),
        ("hours", lambda c: f"{plan.hours(c):,.1f}"),
        ("hours, none hidden", lambda c: f"{plan.hours_at_worst(c):,.1f}"),
        ("GPU-hours", lambda c: f"{plan.hours(c) * plan.cluster.number:,.0f}"),
    ]
    if price is not None:
        took.append(("cost", lambda c: f"{plan.hours(c) * plan.cluster.number * price:,.0f}"))
    title = f"Memory per GPU, GiB of {memory:.1f}; a tenth stays free"
    return [
        _table(title, plan.choices, held),
        _table("Time", [choice for choice in plan.choices if choice.fits], took),
    ]


def _part(name: str) -> Callable[[Choice], str]:
    return lambda choice: f"{getattr(choice.memory, name) / GIB:.2f}"


def _table(
    title: str,
    choices: Sequence[Choice],
    rows: Sequence[tuple[str, Callable[[Choice], str]]],
) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for choice in choices:
        table.add_column(choice.layout.name, justify="right")
    for name, words in rows:
        table.add_row(name, *(words(choice) for choice in choices))
    return table


def _assumptions(plan: Plan, network: Network, share: float, source: str) -> str:
    bandwidth = network.bandwidth(plan.cluster) / 1e9
    words = f"Arithmetic at {share:.0%} of the peak ({source})."
    if plan.cluster.number > 1:
        words += (
            f" Network: rings at {bandwidth:.0f} GB/s per GPU and direction, {RING:.0%} of the "
            "slowest link; hours count what cannot be hidden behind arithmetic."
        )
    return words + " Loading, evaluations, checkpoints and failures are not in it (--failures)."


def _advice(plan: Plan, best: Choice) -> str:
    layout = best.layout
    words = f"Fastest that fits: {layout.name}. Set batch.device={best.micro_batch}"
    if plan.cluster.number > 1:
        words += f" parallel={layout.mode}"
    again = str(layout.checkpointing).lower()
    return f"{words} encoder.checkpointing={again} predictor.checkpointing={again}"
