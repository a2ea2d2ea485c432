"""A run that is interrupted, in whatever way, ends exactly as one that is not."""

from __future__ import annotations

import csv
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

Jepa = Callable[..., Any]
NUM_STEPS = 40


# The machine's speed, and monitors that speak of all they saw since the process started.
OF_THE_PROCESS = ("throughput/", "gradients/", "masks/")


def rows(run: Path) -> list[tuple[str, ...]]:
    """What was logged about the learning."""
    with (run / "metrics.csv").open(newline="") as file:
        return [tuple(row) for row in csv.reader(file) if not row[2].startswith(OF_THE_PROCESS)]


def last_step(run: Path) -> int:
    """The last step in the log; 0 before there is one."""
    path = run / "metrics.csv"
    lines = path.read_text().splitlines()[1:] if path.exists() else []
    return max((int(line.split(",")[0]) for line in lines if line.count(",") == 3), default=0)


def assert_same_ending(run: Path, finished: Path) -> None:
    name = f"checkpoints/step-{NUM_STEPS:08d}/state.safetensors"
    expected, found = load_file(finished / name), load_file(run / name)
    assert expected.keys() == found.keys()
    different = [key for key, value in expected.items() if not torch.equal(value, found[key])]
    assert different == []
    assert rows(run) == rows(finished)


def kill_somewhere(command: Any, run: Path, chance: random.Random, after: int) -> bool:
    """SIGKILL at a random moment, with or without the workers; False if the run ended before."""
    wanted = after + chance.randint(1, 8)
    at_start = chance.random() < 0.1
    deadline = time.monotonic() + (chance.random() if at_start else 120)
    while command.is_running() and time.monotonic() < deadline:
        if last_step(run) >= wanted:
            time.sleep(chance.random() * 0.05)  # anywhere: in a step, between, while saving
            break
        time.sleep(0.002)
    if not command.is_running():
        return False
    command.kill(with_workers=chance.random() < 0.5)
    return True


def train_with_kills(jepa: Jepa, config: Path, chance: random.Random, most: int) -> int:
    """Run the same command until it is through; returns how many times it was killed."""
    kills, run = 0, config.parent / "run"
    while True:
        before = last_step(run)
        command = jepa("pretrain", config.name, folder=config.parent)
        if kills < most and kill_somewhere(command, run, chance, before):
            kills += 1
            continue
        assert command.wait() == 0, command.said
        return kills


def test_a_killed_run_ends_as_an_uninterrupted_one(jepa: Jepa, tiny: Path, finished: Path) -> None:
    command = jepa("pretrain", tiny.name, folder=tiny.parent)
    while last_step(tiny.parent / "run") < 4:
        assert command.is_running(), command.said
        time.sleep(0.002)
    command.kill(with_workers=False)  # they notice later; the run can be continued at once
    assert train_with_kills(jepa, tiny, random.Random(1), most=1) == 1
    assert_same_ending(tiny.parent / "run", finished)


@pytest.mark.slow
def test_a_run_killed_more_than_twenty_times(jepa: Jepa, tiny: Path, finished: Path) -> None:
    chance, kills = random.Random(), 0
    while kills <= 20:
        kills += train_with_kills(jepa, tiny, chance, most=8)
        assert_same_ending(tiny.parent / "run", finished)
        shutil.rmtree(tiny.parent / "run")


def test_signals_save_and_the_same_command_continues(
    jepa: Jepa, tiny: Path, finished: Path
) -> None:
    run = tiny.parent / "run"
    words = ["pretrain", tiny.name, "checkpoint.every_steps=null"]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        before = last_step(run)
        command = jepa(*words, folder=tiny.parent)
        while last_step(run) < before + 4:
            assert command.is_running(), command.said
            time.sleep(0.002)
        workers = command.workers()
        command.send(number)
        assert command.wait() == 128 + number, command.said
        assert "Traceback" not in command.said
        assert "the same command continues" in command.said
        assert (run / f"checkpoints/step-{last_step(run):08d}").is_dir()
        assert len(workers) == 2
        assert psutil.wait_procs(workers, timeout=10)[1] == []
    command = jepa(*words, folder=tiny.parent)
    assert command.wait() == 0, command.said
    assert "continuing at step" in command.said
    assert_same_ending(run, finished)


def test_in_bf16_it_also_ends_the_same(jepa: Jepa, tiny: Path) -> None:
    words = ["pretrain", tiny.name, "precision=bf16", "optimization.method=muon"]
    whole = jepa(*words, "folder=whole", folder=tiny.parent)
    assert whole.wait() == 0, whole.said
    command = jepa(*words, folder=tiny.parent)
    while last_step(tiny.parent / "run") < 8:
        assert command.is_running(), command.said
        time.sleep(0.002)
    command.send(signal.SIGTERM)
    assert command.wait() == 128 + signal.SIGTERM, command.said
    assert f"Stopped at step {last_step(tiny.parent / 'run')} of 40 and saved" in command.said
    assert jepa(*words, folder=tiny.parent).wait() == 0
    assert_same_ending(tiny.parent / "run", tiny.parent / "whole")


def minds_signals(pid: int) -> bool:
    """Whether the training has begun, seen from outside: it catches SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_second_ctrl_c_stops_at_once(jepa: Jepa, tiny: Path) -> None:
    # Its steps are long: a run that waits for the end of one would still be there.
    words = ["data.source.num_pictures=100000", "batch.size=65536", "optimization.warmup_epochs=0"]
    command = jepa("pretrain", tiny.name, *words, folder=tiny.parent)
    while not minds_signals(command.pid):
        assert command.is_running(), command.said
        time.sleep(0.01)
    workers = command.workers()
    command.send(signal.SIGINT)
    time.sleep(0.2)
    assert command.is_running()
    command.send(signal.SIGINT)
    assert command.wait() == 130
    assert "Traceback" not in command.said
    assert psutil.wait_procs(workers, timeout=10)[1] == []


def test_a_run_goes_on_with_another_micro_batch_and_other_workers(
    jepa: Jepa, tiny: Path, finished: Path
) -> None:
    run = tiny.parent / "run"
    shutil.copytree(finished, run)
    for step in (39, 40):
        shutil.rmtree(run / f"checkpoints/step-{step:08d}")
    shutil.copytree(finished / "checkpoints/step-00000039", run / "checkpoints/step-00000039")
    words = ["batch.device=16", "data.num_workers=0", "logging.every=2"]
    command = jepa("pretrain", tiny.name, *words, folder=tiny.parent)
    assert command.wait() == 0, command.said
    assert "continuing at step 39 of 40" in command.said
    expected = load_file(finished / "checkpoints/step-00000040/state.safetensors")
    found = load_file(run / "checkpoints/step-00000040/state.safetensors")
    name = "objective/context_encoder.patch_embed.proj.weight"
    torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-6)


def test_a_damaged_newest_checkpoint_is_named_and_replaced(
    jepa: Jepa, tiny: Path, finished_copy: Path, finished: Path
) -> None:
    newest = finished_copy / "checkpoints" / f"step-{NUM_STEPS:08d}"
    content = (newest / "state.safetensors").read_bytes()[:1000]
    (newest / "state.safetensors").write_bytes(content)
    command = jepa("pretrain", tiny.name, folder=tiny.parent)
    assert command.wait() == 0, command.said
    assert f"step-{NUM_STEPS:08d} is damaged" in command.said
    assert "taking the one before" in command.said
    assert "continuing at step 39" in command.said
    assert_same_ending(finished_copy, finished)
    assert (newest.parent / f"damaged-{newest.name}" / "state.safetensors").read_bytes() == content


def test_when_all_checkpoints_are_damaged_nothing_begins_anew(
    jepa: Jepa, tiny: Path, finished_copy: Path
) -> None:
    for path in finished_copy.glob("checkpoints/*/state.safetensors"):
        path.write_bytes(b"")
    before = sorted(finished_copy.rglob("*"))
    command = jepa("pretrain", tiny.name, folder=tiny.parent)
    assert command.wait() == 2
    assert "no checkpoint in run/checkpoints can be read" in command.errors
    assert "folder=NEW" in command.errors
    assert "Traceback" not in command.said
    assert sorted(finished_copy.rglob("*")) == before


def test_a_checkpoint_of_another_architecture_is_refused(
    jepa: Jepa, tiny: Path, finished_copy: Path
) -> None:
    config = finished_copy / "config.yaml"
    config.write_text(config.read_text().replace("width: 32", "width: 64"))
    command = jepa("pretrain", tiny.name, "encoder.width=64", folder=tiny.parent)
    assert command.wait() == 2
    assert "another architecture" in command.errors
    assert "norm1.weight: this run (64,), checkpoint (32,)" in command.errors
    assert "Traceback" not in command.said
