"""Boxes lie inside the picture, leave something to see, and are the same place on other grids."""

from __future__ import annotations

import numpy as np
import pytest

from jepakit.runs.studio.box import ChosenPatch, HiddenBox

GRID = (4, 6)


def words(row: object, column: object, height: object, width: object) -> dict[str, object]:
    return {"row": row, "column": column, "height": height, "width": width}


def test_people_count_from_one() -> None:
    box = HiddenBox.written(words(2, 3, 2, 4), GRID)
    assert box == HiddenBox(1, 2, 2, 4)
    assert box.words() == words(2, 3, 2, 4)
    assert box.places(GRID).tolist() == [8, 9, 10, 11, 14, 15, 16, 17]
    assert box.pixels((8, 16)) == (8, 32, 16, 64)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (words(4, 1, 2, 1), "reaches outside of the picture: rows 4 to 5, .* rows 1 to 4"),
        (words(1, 6, 1, 2), "reaches outside of the picture: columns 6 to 7, .* columns 1 to 6"),
        (words(0, 1, 1, 1), "reaches outside of the picture: rows 0 to 0"),
        (words(1, 1, 0, 1), "smaller than a patch"),
        (words(1, 1, 2, -1), "smaller than a patch"),
        (words(1, 1, 4, 6), "hides the whole picture"),
        (words(None, 1, 1, 1), "The row is no whole number"),
        (words(1, 1.5, 1, 1), "The column is no whole number"),
        (words(1, 1, float("nan"), 1), "The height is no whole number"),
        (words(1, 1, 1, "two"), "The width is no whole number"),
        (words(1, 1, 1, True), "The width is no whole number"),
        ({}, "The row is no whole number"),
    ],
)
def test_impossible_boxes_are_told(written: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HiddenBox.written(written, GRID)


@pytest.mark.parametrize("grid", [(2, 2), (3, 3), (4, 6), (14, 14), (1, 5)])
def test_the_middle_box_can_be_hidden(grid: tuple[int, int]) -> None:
    box = HiddenBox.middle(grid)
    box.check(grid)
    assert 0 < box.patches(grid).sum() < grid[0] * grid[1]


def test_on_a_finer_grid_it_is_the_same_place() -> None:
    box = HiddenBox(1, 2, 2, 3).on(GRID, (8, 12))
    assert box == HiddenBox(2, 4, 4, 6)
    assert box.on((8, 12), GRID) == HiddenBox(1, 2, 2, 3)


def test_on_a_coarser_grid_it_is_all_that_it_touches() -> None:
    fine = HiddenBox(1, 1, 2, 1).patches(GRID)
    coarse = HiddenBox(1, 1, 2, 1).on(GRID, (2, 3)).patches((2, 3))
    assert (np.kron(coarse, np.ones((2, 2), bool)) | ~fine).all()
    with pytest.raises(ValueError, match="hides the whole picture"):
        HiddenBox(1, 1, 2, 4).on(GRID, (2, 2))


def test_a_patch_and_the_same_place_elsewhere() -> None:
    assert ChosenPatch.written({"row": 4, "column": 6}, GRID) == ChosenPatch(3, 5)
    assert ChosenPatch(3, 5).words() == {"row": 4, "column": 6}
    assert ChosenPatch(1, 2).on((4, 4), (8, 8)) == ChosenPatch(3, 5)
    assert ChosenPatch(7, 0).on((8, 8), (4, 4)) == ChosenPatch(3, 0)
    with pytest.raises(ValueError, match="no patch in row 5, column 1: rows are 1 to 4"):
        ChosenPatch.written({"row": 5, "column": 1}, GRID)
