"""How often each row and column is context and target: measured against the closed form."""

import itertools

import numpy as np
import pytest

from jepakit.masking.coverage import (
    expected_context_coverage,
    expected_target_coverage,
    measure_coverage,
)
from jepakit.masking.multiblock import SHORT_SHARE, MultiBlock

GRIDS = [(3, 20), (7, 5), (8, 8), (14, 14), (16, 16)]


@pytest.fixture(scope="module", params=GRIDS, ids=str)
def measured(request):
    settings = MultiBlock.Settings()
    # Few images per step, because the step's sizes are shared and dominate the error.
    coverage = measure_coverage(MultiBlock(settings, request.param), 12_000, seed=1, batch_size=16)
    return settings, request.param, coverage


def test_closed_form_equals_counting_all_places():
    settings = MultiBlock.Settings(num_targets=2, target_scale=(0.3, 0.3), target_aspect=(1.0, 1.0))
    size = (2, 2)  # 0.3 of 3 x 4 is 3.6 tokens
    masking = MultiBlock(settings, (3, 4))
    assert masking.target_sizes.keys() == {size}
    corners = list(itertools.product(range(2), range(3)))
    counts = np.zeros((3, 4))
    for first, second in itertools.product(corners, corners):
        marks = np.zeros((3, 4), dtype=bool)
        for top, left in (first, second):
            marks[top : top + 2, left : left + 2] = True
        counts += marks
    expected = expected_target_coverage(settings, (3, 4))
    np.testing.assert_allclose(expected, counts / len(corners) ** 2)


def test_targets_agree_with_the_closed_form(measured):
    settings, grid, coverage = measured
    difference = np.abs(coverage.target - expected_target_coverage(settings, grid))
    assert (difference < 5 * coverage.target_error + SHORT_SHARE).all()
    # Rejection moves the mean by much less than its bound.
    assert difference.mean() < 0.01


def test_context_agrees_with_the_closed_form_to_first_order(measured):
    settings, grid, coverage = measured
    difference = np.abs(coverage.context - expected_context_coverage(settings, grid))
    assert (difference < 5 * coverage.context_error + SHORT_SHARE).all()
    assert difference.mean() < 0.01


def test_coverage_is_symmetric(measured):
    _, _, coverage = measured
    for shares, errors in (
        (coverage.target, coverage.target_error),
        (coverage.context, coverage.context_error),
    ):
        for axis in (0, 1):
            difference = np.abs(shares - np.flip(shares, axis))
            assert (difference < 5.5 * (errors + np.flip(errors, axis))).all()


def test_no_token_is_never_context_or_never_target(measured):
    _, _, coverage = measured
    assert coverage.context.min() > 0.05
    assert coverage.target.min() > 0.005


def test_rows_and_columns_are_means_of_tokens(measured):
    _, grid, coverage = measured
    assert coverage.context_per_row.shape == (grid[0],)
    assert coverage.target_per_column.shape == (grid[1],)
    assert coverage.context_per_row.mean() == pytest.approx(coverage.context.mean())
    assert coverage.target_per_row[0] == pytest.approx(coverage.target[0].mean())
    assert coverage.context_per_column[-1] == pytest.approx(coverage.context[:, -1].mean())
    assert coverage.target_per_column[0] == pytest.approx(coverage.target[:, 0].mean())
