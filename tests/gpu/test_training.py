"""The loop on a GPU: the CPU's curve, resuming, bad steps, memory, no waiting for the device."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.gpu.conftest import NUM_STEPS, Build
from torch import Tensor

from jepakit.core.distributed import Place, leave
from jepakit.core.errors import RunFailed
from jepakit.core.joining import ProcessSettings, join
from jepakit.runs.device_batch import largest_that_fits
from jepakit.training.reporting import Observer, StepRecord
from jepakit.training.trainer import Trainer

pytestmark = pytest.mark.gpu


class Watch(Observer):
    """Keeps the losses, and can stop a run as a signal would."""

    def __init__(self, trainer: Trainer, stop_after: int | None = None) -> None:
        self.trainer, self.stop_after = trainer, stop_after
        self.losses: list[Tensor] = []

    def start(self, step: int) -> None:
        pass

    def step_done(self, record: StepRecord) -> None:
        self.losses.append(record.loss.detach())
        if record.step == self.stop_after:
            self.trainer.interruption.received = signal.SIGTERM

    def close(self) -> None:
        pass


def losses(trainer: Trainer, stop_after: int | None = None) -> Tensor:
    watch = Watch(trainer, stop_after)
    trainer.observers = [*trainer.observers, watch]
    assert trainer.run() == (stop_after is None)
    return torch.stack(watch.losses).cpu()


@pytest.fixture
def expected(build: Build) -> Tensor:
    """The losses of the run on the CPU."""
    return losses(build("cpu", "expected"))


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-5)


@pytest.fixture
def group_of_one(request: pytest.FixtureRequest) -> Iterator[None]:
    """A group of this process alone, where networks are spread: they need one."""
    spread = request.node.callspec.params["changes"].get("parallel") == "fsdp"
    if spread:
        join(Place.from_environment(), torch.device("cuda", 0), ProcessSettings(), alone=True)
    yield
    leave()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch__device": 8},
        {"compile": True},
        {"encoder__checkpointing": True, "predictor__checkpointing": True},
        {"parallel": "fsdp"},
        {"parallel": "fsdp", "cpu_offload": True},
        {"parallel": "fsdp", "compile": True},
    ],
    ids=lambda changes: "-".join(changes) or "plain",
)
def test_the_curve_is_that_of_the_cpu(
    build: Build, expected: Tensor, changes: dict[str, Any], group_of_one: None
) -> None:
    assert_close(losses(build("cuda", **changes)), expected)


def test_bf16_learns_alike(build: Build, expected: Tensor) -> None:
    found = losses(build("cuda", precision="bf16"))
    torch.testing.assert_close(found, expected, rtol=5e-2, atol=1e-3)


def test_a_run_goes_on_where_it_stopped_also_on_the_other_device(
    build: Build, expected: Tensor
) -> None:
    first = losses(build("cuda"), stop_after=8)
    half = len(first)
    assert 8 <= half <= 10  # the host hears of the wish a step later
    second = losses(build("cuda"), stop_after=14)
    last = losses(build("cpu"))
    assert_close(torch.cat([first, second, last]), expected)
    assert half + len(second) + len(last) == NUM_STEPS


def test_a_step_that_is_not_finite_never_reaches_the_weights(build: Build, tmp_path: Path) -> None:
    trainer = build("cuda", checkpoint__every_steps=5)
    clean = trainer.normalise

    def broken(views: Tensor) -> Tensor:
        return clean(views) * (float("nan") if trainer.step == 7 else 1.0)

    trainer.normalise = broken
    context = trainer.objective.context_encoder.blocks[0].mlp.fc1.weight  # type: ignore[union-attr]
    with pytest.raises(RunFailed, match="not finite at step 7") as caught:
        trainer.run()
    assert "weights were not touched" in str(caught.value)
    assert torch.isfinite(context).all()
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert kept[-1] == "step-00000005"
    weights = load_file(tmp_path / "run/checkpoints/step-00000005/state.safetensors")
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


def test_a_step_never_waits_for_the_gpu(build: Build) -> None:
    trainer = build("cuda", monitors__collapse__every=0, logging__every=1000)
    steps = list(islice(trainer.stream, 6))
    for number, batches in enumerate(steps[:3]):
        trainer.train_step(number, batches)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number, batches in enumerate(steps[3:], start=3):
            trainer.train_step(number, batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        trainer.close()


def test_what_does_not_fit_is_halved_until_it_does() -> None:
    device = torch.device("cuda")
    tried: list[int] = []

    def trial(count: int) -> None:
        tried.append(count)
        if count > 8:
            torch.empty(torch.cuda.get_device_properties(0).total_memory, device=device)

    assert largest_that_fits(32, 1, device, trial) == 8
    assert tried == [32, 16, 8]


def test_too_little_memory_in_a_step_says_what_to_type(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    trainer = build("cuda")
    forward = trainer.forward

    def greedy(batch: Any) -> Any:
        if trainer.step == 3:
            torch.empty(torch.cuda.get_device_properties(0).total_memory, device="cuda")
        return forward(batch)

    trainer.forward = greedy  # type: ignore[method-assign]
    with pytest.raises(RunFailed, match=r"not enough memory at step 3: set batch\.device=16"):
        trainer.run()
