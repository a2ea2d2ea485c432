"""Context and targets on pictures, and how often each row and column is seen and asked for."""

from __future__ import annotations

import numpy as np

from jepakit.core.randomness import BatchRandom
from jepakit.masking.coverage import Coverage, measure_coverage
from jepakit.runs.seeing.looking import Looking, Shown
from jepakit.visualization import Gallery, Picture, Section, Table, mask_strips
from jepakit.visualization.heat import draw_heat
from jepakit.visualization.tiles import TILE, Tile, sheet, side_by_side, tile_size

_NUM_DRAWN = 8192  # masks that are counted
_BATCH = 64
_SHARES = ("context", "targets")


def show_masks(looking: Looking) -> Shown:
    """Strips of original, contexts and targets; the measured share of each place, row, column."""
    pictures = looking.pictures
    masks = looking.masking(len(pictures), BatchRandom(looking.settings.seed, 0))
    strips = mask_strips(pictures, masks, looking.grid)
    num_contexts = masks.context.shape[1]
    contexts = (
        ["context"] if num_contexts == 1 else [f"context {n + 1}" for n in range(num_contexts)]
    )
    columns = ("original", *contexts, "targets")
    kind = looking.masking.settings.kind  # type: ignore[attr-defined]
    drawn = Gallery(
        tuple(
            Picture(strip, f"picture {n}: {', '.join(columns)}", columns=columns)
            for n, strip in enumerate(strips, 1)
        ),
        heading="Context and targets",
        caption=f"Masks of the kind {kind} on {_patches(looking)}. The context encoder sees what "
        "is not hatched; the predictor is asked for the representations of what is outlined.",
        narrowest=460,
    )
    coverage = measure_coverage(looking.masking, _NUM_DRAWN, looking.settings.seed, _BATCH)
    heat = _heat(coverage)
    sections: list[Section] = [drawn, _picture(heat, coverage), *_tables(coverage)]
    numbers = {
        "context_per_row": coverage.context_per_row.tolist(),
        "context_per_column": coverage.context_per_column.tolist(),
        "target_per_row": coverage.target_per_row.tolist(),
        "target_per_column": coverage.target_per_column.tolist(),
    }
    return Shown(
        sections, {"masks": sheet(strips, columns), "mask-shares": sheet([heat], _SHARES)}, numbers
    )


def _patches(looking: Looking) -> str:
    """The grid, and the training's where that is another one."""
    rows, columns = looking.grid
    trained = looking.loaded.trained
    learned = looking.grid if trained is None else trained.config.grid
    before = "" if learned == looking.grid else f" (it trained on {learned[0]} x {learned[1]})"
    return f"{rows} x {columns} patches{before}"


def _heat(coverage: Coverage) -> Tile:
    size = tile_size(coverage.context.shape, coverage.context.shape, TILE)
    empty = np.zeros((*size, 3), np.uint8)
    shares = (coverage.context, coverage.target)
    return side_by_side([draw_heat(empty, s, 0.0, 1.0, over=0.0, smooth=False) for s in shares])


def _picture(heat: Tile, coverage: Coverage) -> Picture:
    context, target = coverage.context, coverage.target
    return Picture(
        heat,
        "share of pictures in which each place is context, and is in a target",
        caption=f"How often each place of the grid is used, from never (dark) to always (bright). "
        f"Context {context.min():.0%} to {context.max():.0%}, targets {target.min():.0%} to "
        f"{target.max():.0%}, over {_NUM_DRAWN:,} drawn masks.",
        columns=_SHARES,
    )


def _tables(coverage: Coverage) -> list[Section]:
    def table(name: str, context: np.ndarray, target: np.ndarray) -> Table:
        header = (name, *(str(n) for n in range(1, len(context) + 1)))
        rows = (("context, %", *(100 * context)), ("targets, %", *(100 * target)))
        whole = tuple((row[0], *(float(share) for share in row[1:])) for row in rows)
        return Table(header, whole, caption=f"Share of each {name} that is used.", decimals=0)

    return [
        table("row", coverage.context_per_row, coverage.target_per_row),
        table("column", coverage.context_per_column, coverage.target_per_column),
    ]
