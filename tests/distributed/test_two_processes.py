"""Two processes train what one trains, exchange what they should, and stop together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from jepakit.core.distributed import (
    Place,
    check_alike,
    gather_rows,
    mean_over_processes,
)
from jepakit.core.errors import RunFailed
from jepakit.objectives.regularisers import covariance, gaussianity, variance
from jepakit.runs.assemble import assemble
from jepakit.runs.config import RunConfig
from jepakit.runs.yaml_file import check
from jepakit.training.health import NotFinite
from jepakit.training.trainer import Trainer

NUM_STEPS = 5
SCENARIOS: dict[str, dict[str, Any]] = {
    "paper": {},
    "vicreg": {"objective": {"regulariser": {"kind": "vicreg", "weight": 1.0}}},
    "sigreg": {"objective": {"regulariser": {"kind": "sigreg", "weight": 1.0}}},
    "accumulation": {
        "batch": {"size": 8, "device": 2},
        "optimization": {"clip_gradients": 0.01},
        "masking": {"num_contexts": 2},
    },
}
POISONED_STEP = 2


def build(name: str, folder: Path) -> Trainer:
    common: dict[str, Any] = {
        "folder": str(folder / name),
        "devices": ["cpu"],
        "precision": "fp32",
        "data": {
            "source": {"kind": "scenes", "num_pictures": 24, "size": 24},
            "view": {"size": 24},
            "num_workers": 0,
        },
        "masking": {"kind": "multiblock"},
        "encoder": {"size": None, "width": 16, "depth": 2, "num_heads": 2, "patch": 4},
        "predictor": {"width": 8, "depth": 1},
        "objective": {"ema": [0.8, 1.0]},
        # A usual eps would blow up the last bits of gradients that are zero in theory.
        "optimization": {"epochs": NUM_STEPS / 3, "warmup_epochs": 0, "eps": 1e-4},
        "batch": {"size": 8},
        "logging": {"tensorboard": False},
        "monitors": {"probe_train": 2, "probe_test": 2},
    }
    for section, values in SCENARIOS[name].items():
        common[section] = {**common[section], **values}
    config = check(RunConfig, common)
    place = Place.from_environment()
    return assemble(config, place, torch.device("cpu"), Console(quiet=True))[0]


def state_of(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.objective.state_dict().items()}


def train(name: str, folder: Path) -> dict[str, Any]:
    """States before and after a run."""
    trainer = build(name, folder)
    before = state_of(trainer)
    assert trainer.run()
    return {"before": before, "after": state_of(trainer), "steps": trainer.step}


def train_with_poison(folder: Path) -> dict[str, Any]:
    """A run in which the last process gets a picture that is not a number."""
    trainer = build("paper", folder)
    place, normalise = Place.from_environment(), trainer.normalise
    last_good: dict[str, Tensor] = {}

    def poisoned(views: Tensor) -> Tensor:
        if trainer.step < POISONED_STEP:
            return normalise(views)
        last_good.update(state_of(trainer))
        bad = place.rank == place.world_size - 1
        return normalise(views).mul(float("nan") if bad else 1.0)

    trainer.normalise = poisoned
    try:
        trainer.run()
        told, cause = "", ""
    except RunFailed as error:
        told, cause = str(error), type(error.__cause__).__name__
    return {
        "told": told,
        "cause": cause,
        "steps": trainer.step,
        "before": last_good,
        "after": state_of(trainer),
        "saved": trainer.checkpoints.steps(),
    }


TERMS: dict[str, Callable[[Tensor], Tensor]] = {
    "variance": variance,
    "covariance": covariance,
    "gaussianity": lambda rows: gaussianity(rows, 8),
}


def rows() -> Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 0.5


def term_gradients() -> dict[str, Tensor]:
    """Gradients of the terms of all processes' rows, with respect to this process's rows."""
    place = Place.from_environment()
    gradients = {}
    for name, term in TERMS.items():
        mine = rows().chunk(place.world_size)[place.rank].requires_grad_()
        torch.manual_seed(1)
        term(gather_rows(mine)).backward()
        gradients[name] = mine.grad
    return gradients


def told_of_steps(step: int) -> str:
    """What is said when this process would begin at `step`; empty if all agree."""
    try:
        check_alike({"step": step, "world size": 2})
    except RunFailed as error:
        return str(error)
    return ""


def everything(folder: str) -> dict[str, Any]:
    """All that is done in two processes, in one go: most of the time is their start."""
    logging.disable(logging.WARNING)
    path, rank = Path(folder), Place.from_environment().rank
    return {
        "trained": {name: train(name, path) for name in SCENARIOS},
        "poisoned": train_with_poison(path / "poisoned"),
        "gradients": term_gradients(),
        "mean": mean_over_processes(torch.tensor(float(rank))),
        "same step": told_of_steps(7),
        "other steps": told_of_steps(7 + rank),
        "gathered": gather_rows(torch.full((1, 2), float(rank))),
    }


@pytest.fixture(scope="module")
def two(
    run_distributed_test: Callable[..., list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    return run_distributed_test(everything, 2, str(tmp_path_factory.mktemp("two")))


@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_train_what_one_trains(
    name: str, two: list[dict[str, Any]], tmp_path: Path
) -> None:
    alone = train(name, tmp_path)
    first, second = (process["trained"][name] for process in two)
    assert alone["steps"] == first["steps"] == second["steps"] == NUM_STEPS
    for key, value in alone["after"].items():
        torch.testing.assert_close(first["after"][key], value, rtol=0, atol=1e-6, msg=key)
        assert torch.equal(first["after"][key], second["after"][key]), key
        assert torch.equal(first["before"][key], alone["before"][key]), key
    moved = [(value - alone["before"][key]).abs().max() for key, value in alone["after"].items()]
    assert max(moved) > 1e-3


def test_a_loss_that_is_not_finite_on_one_process_stops_both(two: list[dict[str, Any]]) -> None:
    first, second = (process["poisoned"] for process in two)
    for outcome in (first, second):
        assert outcome["cause"] == NotFinite.__name__
        assert f"not finite at step {POISONED_STEP}" in outcome["told"]
        assert outcome["steps"] == POISONED_STEP
        assert outcome["saved"] == []
        for key, value in outcome["after"].items():
            assert torch.isfinite(value).all(), key
            assert torch.equal(value, outcome["before"][key]), key
            assert torch.equal(value, first["after"][key]), key


@pytest.mark.parametrize("name", TERMS)
def test_gradients_flow_back_through_gathered_rows(name: str, two: list[dict[str, Any]]) -> None:
    whole = rows().requires_grad_()
    torch.manual_seed(1)
    TERMS[name](whole).backward()
    # Each process computes the same global term, so every row hears of it twice; the mean over
    # processes, which is taken of the weights' gradients, undoes that.
    found = torch.cat([process["gradients"][name] for process in two]) / 2
    assert whole.grad.abs().max() > 1e-3
    torch.testing.assert_close(found, whole.grad, rtol=1e-5, atol=1e-7)


def test_processes_that_would_begin_at_different_steps_are_stopped(
    two: list[dict[str, Any]],
) -> None:
    for process in two:
        assert process["same step"] == ""
        told = process["other steps"]
        assert "step: 7 for process 0 on" in told
        assert ", 8 for process 1 on" in told
        assert "world size" not in told


def test_rows_come_in_the_order_of_ranks_and_means_are_means(two: list[dict[str, Any]]) -> None:
    for process in two:
        assert process["gathered"].tolist() == [[0.0, 0.0], [1.0, 1.0]]
        assert process["mean"].item() == 0.5
