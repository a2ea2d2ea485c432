"""Random numbers are a function of (seed, name, step, position) and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from jepakit.core.randomness import BatchRandom, generator


@pytest.mark.parametrize("width", [1, 3, 4, 5, 9])
def test_rows_do_not_depend_on_how_the_batch_is_cut(width: int) -> None:
    whole = BatchRandom(seed=1, step=2).uniforms("places", 10, width)
    cut = [
        BatchRandom(seed=1, step=2, first=first).uniforms("places", rows, width)
        for first, rows in ((0, 3), (3, 1), (4, 6))
    ]
    assert whole.shape == (10, width)
    assert np.array_equal(np.concatenate(cut), whole)


def test_uniforms_are_uniform_and_differ_everywhere() -> None:
    numbers = BatchRandom(seed=0, step=0).uniforms("places", 5000, 5)
    assert numbers.dtype == np.float64
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert len(np.unique(numbers)) == numbers.size
    assert numbers.mean(axis=0) == pytest.approx(0.5, abs=0.02)
    assert numbers.var(axis=0) == pytest.approx(1 / 12, abs=0.005)
    correlations = np.corrcoef(numbers.T) - np.eye(5)
    assert abs(correlations).max() < 0.06
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.06


def test_seed_name_and_step_each_give_other_numbers() -> None:
    drawn = {
        BatchRandom(seed, step).uniforms(name, 1, 1).item()
        for seed in (0, 1)
        for step in (0, 1)
        for name in ("a", "b")
    }
    assert len(drawn) == 8


def test_shared_numbers_are_alike_for_all_slices_of_a_step() -> None:
    def drawn(step: int, first: int) -> float:
        return BatchRandom(3, step, first).shared("sizes").random()

    assert drawn(0, 0) == drawn(0, 64)
    assert drawn(0, 0) != drawn(1, 0)


def test_a_samples_generator_belongs_to_its_global_position() -> None:
    def drawn(first: int, position: int) -> float:
        return BatchRandom(3, 7, first).sample("view", position).random()

    assert drawn(0, 5) == drawn(5, 0) == drawn(2, 3)
    assert len({drawn(0, position) for position in range(50)}) == 50


def test_named_generators_are_reproducible_and_independent() -> None:
    assert generator(0, "order", 1).random() == generator(0, "order", 1).random()
    others = [generator(1, "order", 1), generator(0, "probe", 1), generator(0, "order", 2)]
    assert generator(0, "order", 1).random() not in [other.random() for other in others]


def test_the_numbers_themselves_never_change() -> None:
    """Another version of the package continues a run with the same pictures and masks."""
    assert generator(0, "order", 0).permutation(6).tolist() == [5, 0, 3, 1, 4, 2]
    row = BatchRandom(seed=5, step=9, first=3).uniforms("mask places", 1, 2)[0]
    assert row.tolist() == pytest.approx([0.7005068668033617, 0.9923485023649438], abs=1e-15)
