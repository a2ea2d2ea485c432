"""A task of a job: its place, what it does when its training ends, and that it saves when asked."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jepakit.launch.slurm import SubmittedTask
from jepakit.launch.slurm_task import Task, environment, in_vain, newest_checkpoint, visible_device

PLACE = {
    **{"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"},
    **{"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7"},
}


@pytest.fixture
def in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLACE.items():
        monkeypatch.setenv(name, value)
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_CPUS_PER_TASK", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def task(folder: Path, *words: str) -> SubmittedTask:
    return SubmittedTask(words, folder / "run", folder / "logs", "cpu", 0, 1)


@pytest.mark.usefixtures("in_a_job")
def test_a_task_is_told_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert environment("auto") == rank
    assert environment("cpu") == rank | {"JEPAKIT_DEVICE": "cpu"}
    assert environment("cuda") == rank | {"JEPAKIT_DEVICE": "cuda:1"}
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert environment("auto")["OMP_NUM_THREADS"] == "1"


def test_a_task_that_is_shown_one_device_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert visible_device(2) == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert visible_device(2) == 2
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_device(2) == 2


@pytest.mark.usefixtures("in_a_job")
def test_a_wrong_command_fails_its_job_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task(tmp_path, "--version")()
    with pytest.raises(RuntimeError, match="rank 5 ended with exit code 2"):
        task(tmp_path, "bench", "nothing")()
    assert "No such command" in capfd.readouterr().err
    assert not (tmp_path / "logs").exists()


def test_starts_that_lead_no_further_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for restart, checkpoint, expected in (
        *((0, "", 1), (0, "", 1), (1, "", 2)),
        *((4, "step-00000010", 1), (5, "step-00000010", 2), (6, "step-00000020", 1)),
    ):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        assert in_vain(tmp_path / "failures", checkpoint) == expected


def test_the_newest_checkpoint_is_found_by_name(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) == ""
    for name in ("step-00000010", "step-00000110", "damaged-step-00000200"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert newest_checkpoint(tmp_path) == "step-00000110"


OBEY = """
import pathlib, signal, sys, time
received = []
signal.signal(signal.SIGUSR2, lambda number, frame: received.append(number))
pathlib.Path(sys.argv[1], "ready").touch()
while not received:
    time.sleep(0.01)
pathlib.Path(sys.argv[1], "saved").touch()
sys.exit(128 + signal.SIGUSR2)
"""


def test_on_preemption_the_training_saves_before_the_job_is_queued_again(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    asked = SubmittedTask(("--version",), tmp_path, tmp_path, "cpu", 3, 60)
    asked.process = subprocess.Popen([sys.executable, "-S", "-c", OBEY, str(tmp_path)])
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    delayed = asked.checkpoint()
    assert (tmp_path / "saved").exists()
    assert asked.process.wait() == 128 + signal.SIGUSR2
    assert isinstance(delayed.function, Task)
    assert (delayed.function.words, delayed.function.process) == (("--version",), None)
