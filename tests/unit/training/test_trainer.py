"""The loop: what a step does, when it stops, and what it leaves behind when something fails."""

from __future__ import annotations

import ast
import errno
import inspect
import io
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from jepakit.core import checkpoint
from jepakit.core.checkpoint import read_state
from jepakit.core.distributed import Place
from jepakit.core.errors import RunFailed
from jepakit.core.tensors import Batch
from jepakit.data.loader import TrainingStream
from jepakit.runs.assemble import assemble
from jepakit.runs.config import RunConfig
from jepakit.runs.yaml_file import apply_overrides, check
from jepakit.training.parallel import Plan
from jepakit.training.trainer import Trainer
from jepakit.visualization.curves import read_metrics

Assembled = Callable[..., Trainer]

TINY: dict[str, Any] = {
    "precision": "fp32",
    "devices": ["cpu"],
    "data": {
        "source": {"kind": "scenes", "num_pictures": 16, "size": 24},
        "view": {"size": 24},
        "num_workers": 0,
    },
    "encoder": {"size": None, "width": 16, "depth": 1, "num_heads": 2, "patch": 8},
    "predictor": {"width": 16, "depth": 1, "num_heads": 2},
    "optimization": {"epochs": 2, "warmup_epochs": 0},
    "batch": {"size": 4, "device": 2},
    "checkpoint": {"every_steps": 2, "every_minutes": None},
    "logging": {"every": 1, "tensorboard": False},
    "monitors": {"probe_train": 4, "probe_test": 4},
}


@pytest.fixture
def assembled(tmp_path: Path) -> Iterator[Assembled]:
    """`assembled("a.b=value", ...)` is a trainer of 8 steps, where its run stands."""
    made: list[Trainer] = []

    def make(*words: str) -> Trainer:
        content = apply_overrides({**TINY, "folder": str(tmp_path / "run")}, words)
        config = check(RunConfig, content)
        config.folder.mkdir(exist_ok=True)
        console = Console(file=io.StringIO())
        trainer, _ = assemble(config, Place(), torch.device("cpu"), console)
        made.append(trainer)
        return trainer

    yield make
    for trainer in made:
        trainer.close()


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.objective.state_dict().items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [n for n, value in expected.items() if not torch.equal(value, found[n])] == []


def spoil(trainer: Trainer, step: int) -> None:
    """The pictures of one step become not-a-number."""
    normalise = trainer.normalise

    def spoiled(views: Tensor) -> Tensor:
        return normalise(views) * (float("nan") if trainer.step == step else 1.0)

    trainer.normalise = spoiled


def test_a_step_is_short_and_knows_no_cases() -> None:
    source = textwrap.dedent(inspect.getsource(Trainer.train_step))
    assert len(source.splitlines()) <= 25
    cases = (ast.If, ast.IfExp, ast.Match)
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, cases)]


def test_accumulated_steps_equal_whole_ones(assembled: Assembled) -> None:
    words = ("objective.regulariser.kind=none", "optimization.epochs=1")
    halves, whole = assembled(*words), assembled(*words, "batch.device=4")
    losses = []
    for trainer in (halves, whole):
        records = [trainer.train_step(i, batches) for i, batches in enumerate(trainer.stream)]
        losses.append([record.loss.item() for record in records])
    assert len(losses[0]) == 4
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)


def test_a_step_changes_the_networks_and_the_targets_follow(assembled: Assembled) -> None:
    trainer = assembled("objective.ema=[0.5,0.5]")
    before = weights(trainer)
    trainer.train_step(0, next(iter(trainer.stream)))
    after = weights(trainer)
    name = "_encoder.patch_embed.proj.weight"
    context, target = after[f"context{name}"], after[f"target{name}"]
    assert not torch.equal(context, before[f"context{name}"])
    torch.testing.assert_close(target, (before[f"target{name}"] + context) / 2)
    assert all(p.grad is None for p in trainer.objective.parameters())


@pytest.mark.parametrize("method", ["adamw", "muon"])
def test_a_run_goes_on_from_its_newest_checkpoint(assembled: Assembled, method: str) -> None:
    word = f"optimization.method={method}"
    whole = assembled(word)
    assert whole.run()
    expected = weights(whole)
    folder = whole.checkpoints
    assert folder.steps() == [6, 8]
    (folder.at(8) / "facts.json").write_text("")  # as if the run had been killed before
    resumed = assembled(word)
    assert resumed.step == 6
    assert resumed.run()
    assert_same(weights(resumed), expected)


def test_muon_wants_whole_matrices(assembled: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    spread = Plan("fsdp", "as asked")
    monkeypatch.setattr("jepakit.runs.assemble.choose_plan", lambda *asked: spread)
    with pytest.raises(ValueError, match=r"set parallel=ddp, or optimization\.method=adamw"):
        assembled("optimization.method=muon")


def test_monitors_look_at_the_end_of_a_run_however_short(
    assembled: Assembled, tmp_path: Path
) -> None:
    assert assembled("monitors.collapse.every=3").run()
    metrics = read_metrics(tmp_path / "run/metrics.csv")
    assert metrics["collapse/rankme"].steps.tolist() == [3, 6, 8]
    assert metrics["position/gap"].steps.tolist() == [8]


def test_a_slow_first_step_does_not_lower_the_speed(
    assembled: Assembled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = assembled("logging.every=4")
    step = trainer.train_step

    def slow_at_first(number: int, micro_batches: Any) -> Any:
        if number == 0:
            time.sleep(2)
        return step(number, micro_batches)

    monkeypatch.setattr(trainer, "train_step", slow_at_first)
    assert trainer.run()
    speeds = read_metrics(tmp_path / "run/metrics.csv")["throughput/images_per_second"]
    assert speeds.steps.tolist() == [4, 8]
    assert speeds.values[0] > 4 * 4 / 2  # 16 pictures in the two seconds


def test_a_loss_that_is_not_finite_stops_before_the_weights(
    assembled: Assembled,
) -> None:
    trainer = assembled()
    spoil(trainer, step=5)
    seen: list[dict[str, Tensor]] = []
    judge = trainer.health.judge

    def watched(*arguments: Any, **named: Any) -> None:
        seen.append(weights(trainer))
        judge(*arguments, **named)

    trainer.health.judge = watched  # type: ignore[method-assign]
    moments = trainer.optimizer.state_dict
    with pytest.raises(RunFailed) as error:
        trainer.run()
    assert_same(weights(trainer), seen[5])
    assert all(m["step"] == 5 for m in moments()["state"].values())
    told = str(error.value)
    assert "not finite at step 5" in told
    assert "The batch held 4 pictures, among them scene" in told
    assert "folder=NEW" in told
    assert trainer.checkpoints.steps() == [2, 4]
    assert read_state(trainer.checkpoints.at(4)).step == 4


class PretendEvent:
    """A CUDA event whose moment comes when it is waited for."""

    def synchronize(self) -> None:
        pass


def test_on_a_gpu_the_verdict_comes_one_step_later_and_nothing_is_spoiled(
    assembled: Assembled, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = assembled()
    health = trainer.health
    health.deferred = True

    def post(step: int, verdict: Tensor) -> tuple[int, Tensor, Any]:
        return step, verdict.clone(), PretendEvent()

    monkeypatch.setattr(health, "_post", post)
    spoil(trainer, step=3)
    name = "context_encoder.patch_embed.proj.weight"
    before: list[Tensor] = []
    batches = iter(trainer.stream)
    for step in range(4):
        before.append(weights(trainer)[name])
        trainer.recent.append((step, []))
        trainer.train_step(step, next(batches))
        trainer.step += 1
    assert not torch.equal(before[2], before[3])
    assert torch.equal(weights(trainer)[name], before[3])  # step 3 was skipped on the device
    with pytest.raises(RuntimeError, match="not finite at step 3"):
        trainer.save()  # nothing that follows a bad step is saved
    assert trainer.checkpoints.steps() == []
    trainer.train_step(4, next(batches))  # the steps after it are skipped as well
    assert torch.equal(weights(trainer)[name], before[3])


def test_on_a_gpu_a_bad_step_ends_the_run_at_the_next_one(
    assembled: Assembled, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = assembled("checkpoint.every_steps=null")
    trainer.health.deferred = True
    monkeypatch.setattr(
        trainer.health, "_post", lambda step, verdict: (step, verdict.clone(), PretendEvent())
    )
    spoil(trainer, step=3)
    with pytest.raises(RunFailed, match=r"not finite at step 3.*held 4 pictures"):
        trainer.run()
    assert trainer.step == 4
    assert trainer.checkpoints.steps() == []


def full_disk(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_run_outlives_a_disk_that_is_full_for_a_while(
    assembled: Assembled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = assembled()
    save, attempts = checkpoint.save_file, []

    def full_in_between(tensors: dict[str, Tensor], path: Path) -> None:
        attempts.append(trainer.step)
        full_disk() if trainer.step in (4, 6) else save(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full_in_between)
    assert trainer.run()
    assert attempts == [2, 4, 6, 8]
    assert trainer.checkpoints.steps() == [2, 8]
    assert "step 4 could not be saved ([Errno 28] No space left on device)" in caplog.text
    assert "The run goes on" in caplog.text


def test_a_last_checkpoint_that_cannot_be_written_is_a_failure(
    assembled: Assembled, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = assembled("checkpoint.every_steps=null")
    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(RunFailed, match=r"step 8 could not be saved.*Make room"):
        trainer.run()


def test_a_clock_that_jumps_back_delays_no_checkpoint(
    assembled: Assembled, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = assembled("checkpoint.every_steps=null", "checkpoint.every_minutes=1e-9")
    trainer.checkpoints.settings = trainer.checkpoints.settings.model_copy(update={"keep_last": 99})
    clock = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    assert trainer.run()
    assert trainer.checkpoints.steps() == list(range(1, 9))


class FailingStream(TrainingStream):
    """A stream that ends in an error after some steps."""

    def __init__(self, stream: TrainingStream, error: Exception, after: int) -> None:
        self.stream, self.error, self.after = stream, error, after
        self.steps_per_epoch, self.broken = stream.steps_per_epoch, stream.broken

    def __iter__(self) -> Iterator[tuple[Batch, ...]]:
        for number, micro_batches in enumerate(self.stream):
            if number == self.after:
                raise self.error
            yield micro_batches

    def close(self) -> None:
        self.stream.close()


def test_when_pictures_fail_what_was_learned_is_saved(assembled: Assembled) -> None:
    trainer = assembled("checkpoint.every_steps=null")
    trainer.stream = FailingStream(trainer.stream, ValueError("too many are broken"), after=3)
    with pytest.raises(ValueError, match="too many are broken"):
        trainer.run()
    assert trainer.checkpoints.steps() == [3]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "num_workers"),
        (torch.OutOfMemoryError("CUDA out of memory"), "set batch.device=1"),
    ],
)
def test_what_the_machine_does_is_told_in_a_sentence(
    assembled: Assembled, error: RuntimeError, told: str
) -> None:
    trainer = assembled()
    trainer.stream = FailingStream(trainer.stream, error, after=3)
    with pytest.raises(RunFailed, match=told):
        trainer.run()


def test_a_mistake_of_ours_keeps_its_traceback(assembled: Assembled) -> None:
    trainer = assembled()
    trainer.stream = FailingStream(trainer.stream, RuntimeError("shapes"), after=0)
    with pytest.raises(RuntimeError, match="shapes") as error:
        trainer.run()
    assert not isinstance(error.value, RunFailed)


def test_some_epochs_stay_for_good(assembled: Assembled) -> None:
    trainer = assembled(
        "checkpoint.every_steps=1", "checkpoint.keep_every_epochs=1", "checkpoint.keep_last=1"
    )
    assert trainer.run()
    assert trainer.checkpoints.steps() == [4, 8]
