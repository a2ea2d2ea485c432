"""The tables of `jepa bench masks`."""

import io

from rich.console import Console

from jepakit.commands.bench_masks import bench_masks
from jepakit.masking import MASKINGS


def printed(grid) -> str:
    console = Console(file=io.StringIO(), width=200)
    bench_masks([grid], batch_size=8, num_repeats=2, num_images=64, console=console)
    return console.file.getvalue()


def test_every_sampler_has_a_line_and_every_row_one():
    text = printed((9, 12))
    assert all(f"│ {kind} " in text for kind in MASKINGS)
    assert all(f"│ {place:>5} │" in text for place in range(12))
    assert "reference row context" in text


def test_a_sampler_that_refuses_the_grid_says_why():
    text = printed((4, 4))
    assert "reference_multiblock: on a grid of 4 x 4" in text
    assert "│ multiblock " in text
