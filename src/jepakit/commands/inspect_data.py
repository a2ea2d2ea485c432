"""`jepa data inspect`: what a dataset holds, what is wrong with it, and how to train on it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jepakit.commands.counted_work import CountedWork
from jepakit.data.inspection import inspect
from jepakit.runs.automatic import FEWEST, RGB, choose
from jepakit.runs.channel_values import range_of
from jepakit.runs.data_page import write_data_page
from jepakit.runs.data_report import DataReport
from jepakit.runs.given_pictures import given_settings, open_given, parse_values

MOST_ROWS = 20


def inspect_data(
    data: str,
    out: Path | None,
    most: int,
    channels: int,
    values: str | None,
    split: str | None,
    num_workers: int,
) -> int:
    """Print a table about the pictures; write a page if `out` is given."""
    console = Console()
    given = parse_values(values)
    trained = None if given else range_of(given_settings(data, channels, None, split))
    parts = open_given(data, channels, given, split, trained)
    with CountedWork(console, "looking at pictures") as work:
        try:
            found = inspect(list(parts.values()), most, num_workers, work)
        except KeyboardInterrupt:
            return work.interruption.exit_code
    report = DataReport(parts, found)
    choices = None
    if len(found.seen) >= FEWEST:
        read = {"channels": channels} if channels != RGB else {}
        told = {"values": given} if given else {}
        _, choices = choose(data, [], {"data": {"source": read | told}})
    _show(report, data, console)
    if choices is not None:
        console.print(choices)
    if out is not None:
        columns = [list(column.cells) for column in choices.columns] if choices else []
        rows = [tuple(map(str, row)) for row in zip(*columns, strict=True)]
        write_data_page(report, rows, data, out)
        console.print(f"open {out.resolve()}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _show(report: DataReport, data: str, console: Console) -> None:
    table = Table(title=Text(f"Pictures: {data}"), title_justify="left", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in report.facts():
        table.add_row(name, Text(value))
    console.print(table)
    for place, error in list(report.inspection.broken.items())[:MOST_ROWS]:
        line = f"cannot be read: {report.name(place)}: {error.reason}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for warning in report.warnings():
        console.print(warning, style="bold red", markup=False, highlight=False)
