"""Schedules as functions of progress."""

from __future__ import annotations

import itertools
import math

import pytest

from jepakit.core.schedules import cosine, linear, warmup_cosine


def test_linear() -> None:
    assert [linear(p, 2.0, 4.0) for p in (0.0, 0.25, 0.5, 1.0)] == [2.0, 2.5, 3.0, 4.0]
    assert linear(1.0, 4.0, 2.0) == 2.0


def test_cosine_is_steepest_in_the_middle() -> None:
    assert cosine(0.0, 1.0, 0.2) == 1.0
    assert cosine(0.5, 1.0, 0.2) == pytest.approx(0.6)
    assert cosine(1.0, 1.0, 0.2) == pytest.approx(0.2)
    assert cosine(0.25, 1.0, 0.0) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    values = [cosine(p / 100, 1.0, 0.0) for p in range(101)]
    falls = [a - b for a, b in itertools.pairwise(values)]
    assert all(fall > 0 for fall in falls)
    assert falls.index(max(falls)) in (49, 50)


@pytest.mark.parametrize("schedule", [linear, cosine])
def test_progress_outside_is_held_at_the_ends(schedule: object) -> None:
    assert schedule(-1.0, 3.0, 5.0) == schedule(0.0, 3.0, 5.0)
    assert schedule(2.0, 3.0, 5.0) == pytest.approx(5.0)


def test_warm_up_then_cosine() -> None:
    def rate(progress: float) -> float:
        return warmup_cosine(progress, 0.2, 1.0, 10.0, 0.0)

    assert rate(0.0) == 1.0
    assert rate(0.1) == pytest.approx(5.5)
    assert rate(0.2) == pytest.approx(10)
    assert rate(0.6) == pytest.approx(5)
    assert rate(1.0) == pytest.approx(0, abs=1e-12)
    assert rate(0.2 - 1e-9) == pytest.approx(rate(0.2), abs=1e-6)


def test_all_warm_up_or_none() -> None:
    assert warmup_cosine(0.0, 0.0, 1.0, 10.0, 0.0) == 10.0
    assert warmup_cosine(0.5, 1.0, 0.0, 10.0, 0.0) == 5.0
    assert warmup_cosine(1.0, 1.0, 0.0, 10.0, 0.0) == 10.0
