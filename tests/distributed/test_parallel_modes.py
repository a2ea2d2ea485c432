"""One, two and four processes, copied (DDP) or spread (FSDP2), train the same network."""

from __future__ import annotations

import logging
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from rich.console import Console
from torch import Tensor
from torch.distributed.tensor import DTensor

from jepakit.core.distributed import Place
from jepakit.core.shards import whole
from jepakit.runs.assemble import assemble
from jepakit.runs.config import RunConfig
from jepakit.runs.yaml_file import check
from jepakit.training.reporting import Observer, StepRecord
from jepakit.training.trainer import Trainer

NUM_STEPS = 20
REGULARISED = {"ema": [0.8, 1.0], "regulariser": {"kind": "vicreg", "weight": 1.0}}
# The regulariser has no opinion on the last bias: Adam must not blow up what rounding says of it.
DAMPED = {"epochs": NUM_STEPS / 3, "warmup_epochs": 0, "eps": 1e-3}
CLIPPED = {"epochs": NUM_STEPS / 3, "warmup_epochs": 0, "eps": 1e-4, "clip_gradients": 0.01}
# What each scenario changes; what trains in it must not depend on how many processes do it.
SCENARIOS: dict[str, dict[str, Any]] = {
    "paper": {},
    "vicreg": {"objective": REGULARISED, "optimization": DAMPED},
    "clipped": {"optimization": CLIPPED, "batch": {"size": 8, "device": 1}},
    "checkpointing": {
        "encoder": {"size": None, "width": 16, "depth": 2, "num_heads": 2, "patch": 4}
        | {"checkpointing": True},
        "predictor": {"width": 8, "depth": 1, "checkpointing": True},
    },
}
# What each number of processes trains, beside the halves below.
RUNS = {
    1: ("paper-fsdp",),
    2: (
        *("paper-ddp", "paper-fsdp", "paper-offload"),
        *("vicreg-fsdp", "clipped-fsdp", "checkpointing-fsdp"),
    ),
    4: ("paper-ddp", "vicreg-fsdp"),
}
# Two processes stop half-way; so many others go on, in the same way or the other.
GO_ON = {1: ("fsdp-ddp", "ddp-fsdp"), 2: (), 4: ("fsdp-fsdp", "ddp-fsdp", "fsdp-ddp")}


def build(folder: Path, scenario: str, mode: str) -> Trainer:
    content: dict[str, Any] = {
        "folder": str(folder / f"{scenario}-{mode}"),
        "devices": ["cpu"],
        "precision": "fp32",
        "parallel": "fsdp" if mode == "offload" else mode,
        "cpu_offload": mode == "offload",
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
        "checkpoint": {"every_minutes": None},
        "logging": {"every": 1, "tensorboard": False},
        "monitors": {"probe_train": 4, "probe_test": 4}
        | {name: {"every": 10} for name in ("collapse", "position_collapse", "online_probe")}
        | {"target_distance": {"every": 10}},
    } | SCENARIOS[scenario]
    place = Place.from_environment()
    config = check(RunConfig, content)
    return assemble(config, place, torch.device("cpu"), Console(quiet=True))[0]


class StopHalfWay(Observer):
    """As a signal would."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def start(self, step: int) -> None:
        pass

    def step_done(self, record: StepRecord) -> None:
        if record.step == NUM_STEPS // 2 - 1:
            self.trainer.interruption.received = signal.SIGTERM

    def close(self) -> None:
        pass


def train_half(folder: Path, mode: str) -> None:
    """Stop in the middle, saved."""
    trainer = build(folder, "paper", mode)
    trainer.observers = [*trainer.observers, StopHalfWay(trainer)]
    assert not trainer.run()
    assert trainer.step == NUM_STEPS // 2


def train(folder: Path, scenario: str, mode: str, first: int = 0) -> dict[str, Any]:
    """Whole weights after a run, what was logged, and whether the weights were really spread."""
    trainer = build(folder, scenario, mode)
    assert trainer.step == first
    parameters = list(trainer.objective.parameters())
    norms: list[Tensor] = []
    limit = trainer.limit_gradients
    trainer.limit_gradients = lambda: norms.append(limit()) or norms[-1]  # type: ignore
    assert trainer.run()
    return {
        "weights": {n: whole(v).clone() for n, v in trainer.objective.state_dict().items()},
        "spread": all(isinstance(p, DTensor) for p in parameters),
        "norms": torch.stack(norms),
        "steps": trainer.step,
    }


def everything(folder: str, halves: str = "") -> dict[str, Any]:
    """All that this number of processes does, in one go: most of the time is their start."""
    logging.disable(logging.WARNING)
    place, path = Place.from_environment(), Path(folder)
    found: dict[str, Any] = {}
    for name in RUNS[place.world_size]:
        found[name] = train(path, *name.split("-"))
    if place.world_size == 2:
        for mode in ("ddp", "fsdp"):
            train_half(path / mode, mode)
    for name in GO_ON[place.world_size]:
        found[f"half {name}"] = go_on(path, Path(halves), name)
    return found


def go_on(folder: Path, halves: Path, name: str) -> dict[str, Any]:
    """Continue a copy of what two processes began."""
    before, mode = name.split("-")
    place = folder / name / f"paper-{mode}"
    if Place.from_environment().is_first:
        shutil.copytree(halves / before / f"paper-{before}", place)
    if dist.is_initialized():
        dist.barrier()
    return train(folder / name, "paper", mode, first=NUM_STEPS // 2)


Group = tuple[Path, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def start(
    run_distributed_test: Callable[..., list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Group]:
    def run(size: int, *arguments: str) -> Group:
        folder = tmp_path_factory.mktemp(f"processes-{size}")
        return folder, run_distributed_test(everything, size, str(folder), *arguments)

    return run


@pytest.fixture(scope="module")
def two(start: Callable[..., Group]) -> Group:
    return start(2)


@pytest.fixture(scope="module")
def one(start: Callable[..., Group], two: Group) -> Group:
    return start(1, str(two[0]))


@pytest.fixture(scope="module")
def four(start: Callable[..., Group], two: Group) -> Group:
    return start(4, str(two[0]))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("alone")
    return folder, {name: train(folder, name, "ddp") for name in SCENARIOS}


@pytest.mark.parametrize("size", RUNS)
def test_weights_after_twenty_steps_are_those_of_one_process(
    size: int,
    alone: tuple[Path, dict[str, dict[str, Any]]],
    request: pytest.FixtureRequest,
) -> None:
    folder, processes = request.getfixturevalue({1: "one", 2: "two", 4: "four"}[size])
    assert len(processes) == size
    for name in RUNS[size]:
        scenario, mode = name.split("-")
        for process in processes:
            assert_same(process[name], alone[1][scenario], f"{name}, {size} processes")
            assert process[name]["spread"] == (mode != "ddp")
        assert_same_curve(folder / name, alone[0] / f"{scenario}-ddp")


@pytest.mark.parametrize("size", [1, 4])
def test_a_run_stopped_at_two_processes_goes_on_at_another_number_in_another_mode(
    size: int,
    alone: tuple[Path, dict[str, dict[str, Any]]],
    request: pytest.FixtureRequest,
) -> None:
    folder, processes = request.getfixturevalue({1: "one", 4: "four"}[size])
    for name in GO_ON[size]:
        for process in processes:
            told = f"{name}, {size} processes"
            assert_same(process[f"half {name}"], alone[1]["paper"], told, NUM_STEPS // 2)
        assert_same_curve(folder / name / f"paper-{name.split('-')[1]}", alone[0] / "paper-ddp")


def test_spread_networks_are_saved_in_parts_without_pickles(two: Group) -> None:
    def files(mode: str) -> list[str]:
        at = two[0] / mode / f"paper-{mode}" / "checkpoints" / f"step-{NUM_STEPS // 2:08d}"
        return sorted(path.name for path in at.iterdir())

    assert files("ddp") == ["facts.json", "state.safetensors"]
    parts = files("fsdp")
    assert parts[0] == "facts.json"
    assert [part.split("-")[1] for part in parts[1:]] == ["00001", "00002"]
    assert all(part.endswith(".safetensors") for part in parts[1:])


def assert_same(found: dict[str, Any], expected: dict[str, Any], told: str, first: int = 0) -> None:
    assert found["steps"] == NUM_STEPS
    norms = expected["norms"][first:]
    torch.testing.assert_close(found["norms"], norms, rtol=1e-4, atol=1e-6, msg=told)
    for key, value in expected["weights"].items():
        difference = (found["weights"][key] - value).abs().max().item()
        assert difference <= 1e-6, f"{told}, {key}: {difference}"


def assert_same_curve(run: Path, expected: Path) -> None:
    numbers = logged(run)
    for key, number in logged(expected).items():
        assert numbers[key] == pytest.approx(number, rel=1e-3, abs=1e-5), (run, key)


def logged(run: Path) -> dict[tuple[str, str], float]:
    """What was logged about the learning; monitors of the process speak of what it saw itself."""
    rows = (run / "metrics.csv").read_text().splitlines()[1:]
    cells = [row.split(",") for row in rows]
    # With accumulation, parts of the loss are those of each process's last micro-batch.
    other = ("throughput/", "masks/", "gradients/", "loss/")
    return {(c[0], c[2]): float(c[3]) for c in cells if not c[2].startswith(other)}
