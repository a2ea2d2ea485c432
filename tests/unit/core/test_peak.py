"""The measured peak: a plausible number that leaves training's random numbers alone."""

import pytest
import torch

from jepakit.core.peak import matrix_peak

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_peak_is_measured_without_touching_the_random_state(precision):
    before = torch.get_rng_state()
    found = matrix_peak(CPU, precision, side=256, num_repeats=3)
    assert 1e7 < found < 1e15
    assert torch.equal(torch.get_rng_state(), before)


def test_it_counts_operations(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("jepakit.core.peak.time.perf_counter", lambda: next(clock))
    assert matrix_peak(CPU, "fp32", side=8) == 2 * 8**3
