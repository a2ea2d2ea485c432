"""The page of an evaluation stays readable however many heads and networks there are."""

from __future__ import annotations

from jepakit.runs.evaluation_page import _best, grouped_curves


def test_heads_of_a_sweep_share_a_drawing() -> None:
    curves = {
        "linear_sweep/last/linear/lr=1/wd=0": [0.1, 0.2],
        "linear_sweep/last/linear/lr=3/wd=0.1": [0.1, 0.3],
        "linear_sweep/last/batch_norm/lr=1/wd=0": [0.1, 0.4],
        "linear_sweep/last/batch_norm/lr=1/wd=0/loss": [3.0, 2.0],
        "fine_tune/loss": [2.0, 1.0],
        "fine_tune/held_out": [0.5],
    }
    found = grouped_curves(curves)
    assert list(found) == [
        "linear sweep, last, linear",
        "linear sweep, last, batch norm",
        "linear sweep, last, batch norm, loss",
        "fine tune, loss",
    ]
    assert found["linear sweep, last, linear"] == {
        "lr=1/wd=0": [0.1, 0.2],
        "lr=3/wd=0.1": [0.1, 0.3],
    }
    assert found["fine tune, loss"] == {"fine tune, loss": [2.0, 1.0]}


def test_the_best_heads_are_drawn() -> None:
    curves = {f"lr={n}": [0.0, float(n)] for n in range(8)} | {"broken": [0.0, float("nan")]}
    assert [name for name, _ in _best("sweep", curves)] == [f"lr={n}" for n in (7, 6, 5, 4, 3)]
    assert [name for name, _ in _best("sweep, loss", curves)] == [f"lr={n}" for n in range(5)]
