"""`jepa data stats`: the values of each channel, and the settings that follow from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jepakit.core.files import write_text
from jepakit.data.normalization import Statistics, measure_statistics
from jepakit.data.sources import build_source
from jepakit.runs.automatic import RGB, written
from jepakit.runs.channel_values import ChannelValues, look_at_values
from jepakit.runs.given_pictures import given_settings, parse_values
from jepakit.runs.yaml_file import as_yaml


def data_stats(
    data: str,
    channels: int,
    values: str | None,
    split: str | None,
    num_pictures: int,
    out: Path | None,
) -> int:
    """Print a table, and YAML to paste into a config; write that to `out` if it is given."""
    console = Console()
    settings = given_settings(data, channels, parse_values(values), split)
    stored = look_at_values(settings, num_pictures)
    if stored is not None:
        channels = len(stored.lowest) if channels == RGB else channels
        chosen = settings.values or stored.suggested()
        settings = given_settings(data, channels, chosen, split)
    statistics = measure_statistics(build_source(settings), num_pictures)
    console.print(_table(statistics, stored))
    if stored is not None and stored.share_not_finite:
        share = f"{100 * stored.share_not_finite:.2g} %"
        console.print(f"{share} of the values are NaN or infinite: they become 0", style="bold red")
    snippet = as_yaml(_content(settings, statistics))
    console.print(snippet, markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        write_text(out, snippet)
    return 0


def _table(statistics: Statistics, stored: ChannelValues | None) -> Table:
    title = "Values from 0 to 1"
    columns = ["channel", "mean", "std"]
    if stored is not None:
        title += f"; as stored ({stored.type}), of {stored.num_pictures:,} pictures"
        columns += ["lowest", "1 %", "99 %", "highest"]
    table = Table(*columns, title=title, title_justify="left")
    for channel, (mean, std) in enumerate(zip(statistics.mean, statistics.std, strict=True)):
        cells = [f"{channel}", f"{mean:.4f}", f"{std:.4f}"]
        if stored is not None:
            numbers = (stored.lowest, *stored.percentiles, stored.highest)
            cells += [f"{number[channel]:.6g}" for number in numbers]
        table.add_row(*cells)
    return table


def _content(settings: Any, statistics: Statistics) -> dict[str, Any]:
    rounded = {
        name: [float(f"{number:.5g}") for number in numbers]
        for name, numbers in statistics.model_dump().items()
    }
    return {"data": {"source": written(settings), "normalization": rounded}}
