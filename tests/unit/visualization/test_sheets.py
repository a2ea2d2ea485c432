"""Strips under the names of their columns."""

from __future__ import annotations

import numpy as np
import pytest

from jepakit.visualization.tiles import GAP, sheet, side_by_side, stacked


def strip(number: int) -> np.ndarray:
    return side_by_side([np.full((30, 60, 3), 100, np.uint8)] * number)


def dark_columns(heading: np.ndarray) -> np.ndarray:
    return np.flatnonzero((heading < 128).any(axis=(0, 2)))


def test_names_stand_above_their_columns_and_pictures_stay() -> None:
    strips = [strip(3), strip(3)]
    drawn = sheet(strips, ["one", "", "three"])
    body = stacked(strips)
    assert np.array_equal(drawn[-len(body) :], body)
    dark = dark_columns(drawn[: -len(body)])
    assert dark.min() < 10
    second, third = 60 + GAP, 2 * (60 + GAP)
    assert not ((dark > second) & (dark < third)).any()
    assert third <= dark[dark > second].min() < third + 10


def test_long_names_are_broken_and_none_runs_into_the_next() -> None:
    short, long = ("a", "b"), ("prediction of untrained networks", "b")
    heights = [len(sheet([strip(2)], names)) for names in (short, long)]
    assert heights[1] > heights[0] + 20
    dark = dark_columns(sheet([strip(2)], ("as long as this name goes", "b"))[:-30])
    assert dark[dark < 60 + GAP].max() < 60


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no pictures to draw"):
        sheet([], ["one"])
