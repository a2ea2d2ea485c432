"""Places in a run, and what a run of one process does without a group."""

from __future__ import annotations

import pytest
import torch

from jepakit.core.distributed import (
    Place,
    gather_rows,
    leave,
    mean_over_processes,
    world_size,
)
from jepakit.core.joining import ProcessSettings, join

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_the_environment_tells_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Place.from_environment() == Place(rank=0, world_size=1, local_rank=0)
    for name, value in zip(NAMES, ("5", "8", "1"), strict=True):
        monkeypatch.setenv(name, value)
    place = Place.from_environment()
    assert place == Place(rank=5, world_size=8, local_rank=1)
    assert not place.is_first
    assert Place(0, 8, 0).is_first


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ValueError, match=r"set all of RANK, WORLD_SIZE, LOCAL_RANK or none"):
        Place.from_environment()


def test_a_run_of_one_joins_nothing() -> None:
    join(Place(), torch.device("cpu"), ProcessSettings(), alone=False)
    assert not torch.distributed.is_initialized()
    assert world_size() == 1
    rows = torch.randn(2, 3, requires_grad=True)
    assert gather_rows(rows) is rows
    assert mean_over_processes(rows) is rows
    leave()
