"""Sizes, places, and choosing tokens without bias."""

import numpy as np
import pytest

from jepakit.masking.blocks import (
    block_indices,
    block_sizes,
    choose,
    covered,
    draw_corners,
    draw_size,
    inside_block,
    num_uniforms_to_choose,
    positions_of,
)


def test_a_block_is_the_tokens_of_its_rows_and_columns():
    corners = np.array([[0, 7], [8, 2]])
    assert block_indices(corners, (3, 5), (1, 2)).tolist() == [[[0, 1], [7, 8]], [[8, 9], [2, 3]]]
    tall = block_indices(np.array([[1]]), (3, 5), (3, 2))
    assert tall.tolist() == [[[1, 2, 6, 7, 11, 12]]]


def test_covered_tokens_are_those_of_any_block():
    marks = covered(np.array([[[0, 1], [1, 2]], [[3, 4], [3, 4]]]), 5)
    assert marks.tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]
    assert positions_of(marks[:, ::-1][:1]).tolist() == [[2, 3, 4]]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 5)])
def test_inside_a_block_are_its_indices(size):
    corners = np.arange(4 - size[0] + 1)[:, None] * 5 + np.arange(5 - size[1] + 1)
    indices = block_indices(corners, (4, 5), size)
    marks = inside_block(corners, (4, 5), size)
    assert marks.shape == (*corners.shape, 20)
    for place in np.ndindex(corners.shape):
        assert np.flatnonzero(marks[place]).tolist() == indices[place].tolist()


def test_corners_reach_every_place_equally_often():
    uniforms = np.random.default_rng(0).random((4000, 5, 2))
    corners = draw_corners(uniforms, (4, 6), (2, 3))
    places, counts = np.unique(corners, return_counts=True)
    assert places.tolist() == [0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15]
    expected = 20000 / 12
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_area_and_aspect_of_block_sizes_are_independent_and_in_range():
    sizes = block_sizes((100, 100), (0.15, 0.2), (0.75, 1.5), num_strata=3)
    assert sum(sizes.values()) == pytest.approx(1)
    heights, widths = np.array(list(sizes)).T
    weights = np.array(list(sizes.values()))
    shares, aspects = heights * widths / 10_000, np.log(heights / widths)
    assert shares.min() > 0.15
    assert shares.max() < 0.2
    assert np.average(shares, weights=weights) == pytest.approx(0.175, abs=0.001)
    assert np.average(aspects, weights=weights) == pytest.approx(np.log(0.75 * 1.5) / 2, abs=0.01)
    assert abs(np.corrcoef(shares, aspects)[0, 1]) < 0.1


def test_a_block_taller_than_the_grid_keeps_its_area():
    assert block_sizes((3, 20), (0.6, 0.6), (1.0, 1.0), num_strata=1) == {(3, 12): 1.0}
    assert block_sizes((20, 3), (0.6, 0.6), (1.0, 1.0), num_strata=1) == {(12, 3): 1.0}


def test_a_block_may_fill_the_grid():
    assert block_sizes((7, 7), (1.0, 1.0), (1.0, 1.0), num_strata=2) == {(7, 7): 1.0}


def test_sizes_are_drawn_by_their_probability():
    generator = np.random.default_rng(0)
    drawn = [draw_size({(1, 1): 0.2, (2, 3): 0.8}, generator) for _ in range(2000)]
    assert drawn.count((1, 1)) / 2000 == pytest.approx(0.2, abs=5 * 0.009)
    assert set(drawn) == {(1, 1), (2, 3)}


@pytest.mark.parametrize("num_tokens", [6, 7])
def test_every_allowed_subset_is_chosen_equally_often(num_tokens):
    num_rows = 12_000
    width = num_uniforms_to_choose(num_tokens)
    uniforms = np.random.default_rng(1).random((num_rows, width))
    allowed = np.ones((num_rows, num_tokens), dtype=bool)
    allowed[:, 1] = False
    allowed[:, 6:] = False
    chosen = choose(allowed, 2, uniforms)
    pairs, counts = np.unique(chosen, axis=0, return_counts=True)
    assert pairs.tolist() == [[a, b] for a in (0, 2, 3, 4, 5) for b in (2, 3, 4, 5) if a < b]
    expected = num_rows / 10
    assert ((counts - expected) ** 2 / expected).sum() < 30  # chi square, 9 degrees: p < 0.0005


def test_choosing_more_than_allowed_is_our_own_error():
    with pytest.raises(AssertionError, match="fewer tokens"):
        choose(np.array([[True, False, True]]), 3, np.array([[0.1, 0.2]]))


def test_choosing_all_gives_all():
    allowed = np.array([[True, False, True, True]])
    assert choose(allowed, 3, np.array([[0.9, 0.2]])).tolist() == [[0, 2, 3]]
