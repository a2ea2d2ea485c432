"""The page of an evaluation stays readable however many heads and networks there are."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock

from jepakit.evaluation.subject import Subject
from jepakit.runs.evaluation import Evaluated
from jepakit.runs.evaluation_page import _best, _main_row, grouped_curves
from jepakit.runs.subjects import Candidate


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


def test_the_newest_checkpoint_of_a_run_is_looked_at_closely() -> None:
    def main_row(*networks: tuple[str, str, int | None]) -> str:
        candidates = []
        for name, folder, step in networks:
            subject = MagicMock(spec=Subject)
            subject.name = name
            candidates.append(Candidate(subject, MagicMock(), Path(folder), None, step))
        return _main_row(MagicMock(spec=Evaluated, candidates=candidates))

    assert main_row(("first", "run", 10), ("last", "run", 20)) == "last"
    assert main_row(("mine", "run", 10), ("other", "another", 20)) == "mine"
    assert main_row(("target", "run", 10), ("context", "run", 10)) == "target"
    assert main_row(("timm:one", "", None), ("timm:two", "", None)) == "timm:one"
