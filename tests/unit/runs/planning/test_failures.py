"""Simulated failures against the closed forms of Young and Daly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jepakit.runs.planning.failures import (
    Conditions,
    daly,
    expected_hours,
    outcome,
    simulate,
    young,
)

HARSH = Conditions(num_gpus=256, work=100.0, save=0.02, hours_between=2560.0, late=0.0)


@pytest.mark.parametrize("interval", [0.1, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("late", [0.0, 0.02])
def test_the_mean_is_that_of_the_formula(interval: float, late: float) -> None:
    conditions = Conditions(256, 100.0, 0.02, 2560.0, late=late)
    hours = simulate(conditions, [interval], seed=1, num_trials=4000)
    assert hours.shape == (4000, 1)
    error = hours.std() / math.sqrt(len(hours))
    assert hours.mean() == pytest.approx(expected_hours(conditions, interval), abs=5 * error)
    assert error < 0.01 * hours.mean()


def test_without_failures_only_saving_takes_time() -> None:
    calm = Conditions(8, 10.0, 0.01, 1e12, late=0.0)
    hours = simulate(calm, [1.0, 3.0, 50.0], seed=0, num_trials=3)
    saves = np.array([10, 4, 1])  # the last one is the result; stretches may be cut short
    assert np.allclose(hours, 10.0 + 0.01 * saves)


def test_the_interval_that_loses_least_is_dalys() -> None:
    found = outcome(HARSH, seed=0)
    low, high = found.as_good
    assert low <= daly(HARSH) <= high
    assert 0.6 < found.recommended / daly(HARSH) < 1.6
    assert found.lost_at(daly(HARSH)) == pytest.approx(min(found.lost), abs=0.002)


def test_daly_refines_young() -> None:
    rare = Conditions(1, 1.0, 0.001, 1e6)
    assert young(rare) == pytest.approx(math.sqrt(2 * 0.001 * 1e6))
    assert daly(rare) == pytest.approx(young(rare), rel=1e-3)
    assert daly(Conditions(1000, 1.0, 1.0, 100.0)) == pytest.approx(0.1)  # saving takes longer
    best = min(np.geomspace(0.01, 50, 4000), key=lambda hours: expected_hours(HARSH, hours))
    assert daly(HARSH) == pytest.approx(best, rel=0.01)


def test_the_same_seed_gives_the_same_runs() -> None:
    one, two, other = (simulate(HARSH, [0.5, 1.0], seed, 20) for seed in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_more_gpus_wait_longer_for_the_slowest() -> None:
    few, many = (Conditions(n, 1.0, 0.01, late=0.01) for n in (1, 1024))
    assert few.straggling() == pytest.approx(1.01)
    assert many.straggling() == pytest.approx(1 + 0.01 * (math.log(1024) + 0.5772), abs=1e-4)
