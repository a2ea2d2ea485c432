"""Jobs on a real SLURM cluster that are disturbed end as if nothing had been, bit for bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.cluster.conftest import (
    NUM_STEPS,
    Done,
    config,
    everything_said,
    finish,
    wait_for_step,
    weights,
)
from tests.cluster.mini_slurm import MiniSlurm, wait_until

LITTLE = 5  # steps, after which a job is disturbed


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture(scope="module")
def undisturbed() -> list[bytes]:
    """The state at the end of a run that nothing happened to, once it is known."""
    return []


@pytest.fixture
def submitted(
    distributed: Callable[..., Done], tmp_path: Path, logs: Path
) -> Callable[[], tuple[str, Path]]:
    """Submits a training of two processes on two nodes, as the reference; its number and folder."""

    def submit() -> tuple[str, Path]:
        file = config(tmp_path / "config.yaml")
        done = distributed(
            *("--fname", file, "--folder", logs, "--partition", "lab"),
            *("--nodes", 2, "--tasks-per-node", 1, "--time", 1000),
        )
        assert done.code == 0, done
        return done.job, tmp_path / "run"

    return submit


def test_a_job_of_two_nodes_trains_to_the_end(
    cluster: MiniSlurm,
    submitted: Callable[[], tuple[str, Path]],
    logs: Path,
    undisturbed: list[bytes],
) -> None:
    number, run = submitted()
    job = finish(cluster, number, logs)
    assert (job["NumNodes"], job["NumTasks"], job["TresPerNode"]) == ("2", "2", "gres:gpu:1")
    hosts = {path.read_text().split("hostname=")[1][:2] for path in logs.glob("job_*/*_log.out")}
    assert hosts == {"n1", "n2"}
    undisturbed.append(weights(run))


def test_the_signal_before_the_time_limit(
    cluster: MiniSlurm,
    submitted: Callable[[], tuple[str, Path]],
    logs: Path,
    undisturbed: list[bytes],
) -> None:
    number, run = submitted()
    wait_for_step(cluster, run, LITTLE, number, logs)
    cluster.run("scancel", "--signal=USR2", number)
    continues_and_ends_the_same(cluster, number, run, logs, undisturbed)


def test_scontrol_requeue(
    cluster: MiniSlurm,
    submitted: Callable[[], tuple[str, Path]],
    logs: Path,
    undisturbed: list[bytes],
) -> None:
    number, run = submitted()
    wait_for_step(cluster, run, LITTLE, number, logs)
    cluster.run("scontrol", "requeue", number)
    continues_and_ends_the_same(cluster, number, run, logs, undisturbed)


def test_a_killed_rank_ends_the_others_and_the_job_starts_again(
    cluster: MiniSlurm,
    submitted: Callable[[], tuple[str, Path]],
    logs: Path,
    undisturbed: list[bytes],
) -> None:
    number, run = submitted()
    wait_for_step(cluster, run, LITTLE, number, logs)
    os.kill(training_of_rank(1, number), signal.SIGKILL)
    continues_and_ends_the_same(cluster, number, run, logs, undisturbed)
    assert "rank 1 failed (exit code 137): the job is queued again" in everything_said(
        cluster, number, logs
    )


def test_a_node_that_dies(
    cluster: MiniSlurm,
    submitted: Callable[[], tuple[str, Path]],
    logs: Path,
    undisturbed: list[bytes],
) -> None:
    number, run = submitted()
    wait_for_step(cluster, run, LITTLE, number, logs)
    cluster.kill_node("n2")
    try:
        wait_until(
            lambda: cluster.job(number)["JobState"] == "PENDING",
            "the job waits for its node",
            lambda: everything_said(cluster, number, logs),
        )
    finally:
        cluster.start_node("n2")
    continues_and_ends_the_same(cluster, number, run, logs, undisturbed)


def training_of_rank(rank: int, number: str) -> int:
    """The process of this machine that trains as a rank of a job."""
    for process in psutil.process_iter():
        try:
            settings, words = process.environ(), process.cmdline()
        except psutil.Error:
            continue
        place = (settings.get("SLURM_JOB_ID"), settings.get("RANK"))
        if "pretrain" in words and place == (number, str(rank)):
            return process.pid
    raise AssertionError(f"rank {rank} of job {number} does not run")


def continues_and_ends_the_same(
    cluster: MiniSlurm, number: str, run: Path, logs: Path, undisturbed: list[bytes]
) -> None:
    job = finish(cluster, number, logs)
    assert int(job["Restarts"]) == 1, everything_said(cluster, number, logs)
    said = (run / "log.txt").read_text()
    assert f"of {NUM_STEPS}" in said.partition("continuing at step ")[2]
    assert undisturbed, "needs the test of an undisturbed run before it"
    assert weights(run) == undisturbed[0]
