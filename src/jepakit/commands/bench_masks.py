"""`jepa bench masks`: what each mask sampler costs, and how often it shows each row and column."""

import statistics
import time
from collections.abc import Sequence

import numpy as np
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from jepakit.core.randomness import BatchRandom
from jepakit.masking import MASKINGS, Grid, Masking, MaskingSettings, build_masking
from jepakit.masking.coverage import Coverage, measure_coverage

# What the released collator takes per image on one core at batch 128, in microseconds.
_REFERENCE_COLLATOR = (200, 250)


def bench_masks(
    grids: Sequence[Grid] = ((14, 14), (16, 16)),
    batch_size: int = 128,
    num_repeats: int = 200,
    num_images: int = 25_600,
    seed: int = 0,
    console: Console | None = None,
) -> None:
    """Print the time per image of every sampler, and the coverage of the two multi-block ones."""
    console = console or Console()
    for grid in grids:
        maskings = _buildable(grid, console)
        coverages = {
            kind: measure_coverage(masking, num_images, seed, batch_size)
            for kind, masking in maskings.items()
        }
        times = {
            kind: time_per_image(masking, batch_size, num_repeats, seed)
            for kind, masking in maskings.items()
        }
        console.print(_cost_table(grid, batch_size, times, coverages))
        compared = {kind: coverages[kind] for kind in coverages if kind.endswith("multiblock")}
        console.print(_coverage_table(grid, compared))
    low, high = _REFERENCE_COLLATOR
    console.print(f"The released collator takes {low} to {high} µs per image at batch 128.")


def time_per_image(masking: Masking, batch_size: int, num_repeats: int, seed: int = 0) -> float:
    """Median over `num_repeats` steps of the seconds that one image's masks take."""
    seconds = []
    for step in range(num_repeats):
        random = BatchRandom(seed, step)
        start = time.perf_counter()
        masking(batch_size, random)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) / batch_size


def _buildable(grid: Grid, console: Console) -> dict[str, Masking]:
    """Every sampler that accepts the grid; says why another does not."""
    maskings: dict[str, Masking] = {}
    for kind in MASKINGS:
        settings = TypeAdapter(MaskingSettings).validate_python({"kind": kind})
        try:
            maskings[kind] = build_masking(settings, grid)
        except ValueError as error:
            console.print(f"{kind}: {error}")
    return maskings


def _cost_table(
    grid: Grid, batch_size: int, times: dict[str, float], coverages: dict[str, Coverage]
) -> Table:
    table = Table(title=f"grid {grid[0]} x {grid[1]}, batch {batch_size}")
    table.add_column("sampler")
    for name in ("µs per image", "context share", "target share", "shapes (K, L)"):
        table.add_column(name, justify="right")
    for kind, seconds in times.items():
        coverage = coverages[kind]
        table.add_row(
            kind,
            f"{1e6 * seconds:.2f}",
            f"{coverage.context.mean():.3f}",
            f"{coverage.target.mean():.3f}",
            str(len(coverage.shapes)),
        )
    return table


def _coverage_table(grid: Grid, coverages: dict[str, Coverage]) -> Table:
    table = Table(title=f"grid {grid[0]} x {grid[1]}: share of images by row and by column")
    table.add_column("place", justify="right")
    columns: list[np.ndarray] = []
    for kind, coverage in coverages.items():
        name = kind.replace("_multiblock", "")
        for part, values in (
            ("row context", coverage.context_per_row),
            ("row target", coverage.target_per_row),
            ("column context", coverage.context_per_column),
            ("column target", coverage.target_per_column),
        ):
            table.add_column(f"{name} {part}", justify="right")
            columns.append(values)
    for place in range(max(grid)):
        cells = [f"{values[place]:.2f}" if place < len(values) else "" for values in columns]
        table.add_row(str(place), *cells)
    return table
