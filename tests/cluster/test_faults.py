"""Jobs on a real SLURM cluster that are disturbed end as if nothing had been, bit for bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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

LITTLE = 5  # steps, after which a job is asked to save
SAVED = 12  # steps, after which there is a checkpoint


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


class Undisturbed(NamedTuple):
    """A run that nothing happened to."""

    job: dict[str, str]
    hosts: set[str]
    weights: bytes


@pytest.fixture(scope="module")
def known() -> dict[str, Undisturbed]:
    """It is trained once."""
    return {}


@pytest.fixture
def undisturbed(
    cluster: MiniSlurm,
    distributed: Callable[..., Done],
    known: dict[str, Undisturbed],
    tmp_path_factory: pytest.TempPathFactory,
) -> Undisturbed:
    """Trained as the reference trains: the same words."""
    if not known:
        folder = tmp_path_factory.mktemp("undisturbed")
        number, run = submit(distributed, folder)
        job = finish(cluster, number, folder / "logs")
        logs = folder.glob("logs/job_*/*_log.out")
        hosts = {path.read_text().split("hostname=")[1].split(",")[0] for path in logs}
        known["run"] = Undisturbed(job, hosts, weights(run))
    return known["run"]


def submit(distributed: Callable[..., Done], folder: Path) -> tuple[str, Path]:
    """Submits a training of two processes on two nodes; its number and folder."""
    done = distributed(
        *("--fname", config(folder / "config.yaml"), "--folder", folder / "logs"),
        *("--partition", "lab", "--nodes", 2, "--tasks-per-node", 1, "--time", 1000),
    )
    assert done.code == 0, done
    return done.job, folder / "run"


@pytest.fixture
def submitted(distributed: Callable[..., Done], tmp_path: Path) -> Callable[[], tuple[str, Path]]:
    return lambda: submit(distributed, tmp_path)


def test_a_job_of_two_nodes_trains_to_the_end(undisturbed: Undisturbed) -> None:
    job = undisturbed.job
    assert (job["NumNodes"], job["NumTasks"], job["TresPerNode"]) == ("2", "2", "gres:gpu:1")
    assert undisturbed.hosts == {"n1", "n2"}


def test_the_signal_before_the_time_limit(
    cluster: MiniSlurm,
    submitted: Callable[[], tuple[str, Path]],
    logs: Path,
    undisturbed: Undisturbed,
) -> None:
    number, run = submitted()
    wait_for_step(cluster, run, LITTLE, number, logs)
    cluster.run("scancel", "--signal=USR2", number)
    continues_and_ends_the_same(cluster, number, run, logs, undisturbed)


def test_scontrol_requeue(
    cluster: MiniSlurm,
    submitted: Callable[[], tuple[str, Path]],
    logs: Path,
    undisturbed: Undisturbed,
) -> None:
    number, run = submitted()
    wait_for_step(cluster, run, LITTLE, number, logs)
    cluster.run("scontrol", "requeue", number)
    continues_and_ends_the_same(cluster, number, run, logs, undisturbed)


def test_a_killed_rank_ends_the_others_and_the_job_starts_again(
    cluster: MiniSlurm,
    submitted: Callable[[], tuple[str, Path]],
    logs: Path,
    undisturbed: Undisturbed,
) -> None:
    number, run = submitted()
    wait_for_step(cluster, run, SAVED, number, logs)
    os.kill(training_of_rank(1, number), signal.SIGKILL)
    continues_and_ends_the_same(cluster, number, run, logs, undisturbed)
    assert "rank 1 failed (exit code 137): the job is queued again" in everything_said(
        cluster, number, logs
    )


def test_a_job_that_leads_no_further_ends(
    cluster: MiniSlurm, jepa: Callable[..., Done], tmp_path: Path
) -> None:
    file = config(tmp_path / "config.yaml", optimization={"epochs": 100_000, "warmup_epochs": 1})
    done = jepa("pretrain", file, "--slurm", "nodes=2", "restarts=0", "checkpoint.every_steps=null")
    jobs = tmp_path / "run" / "jobs"
    wait_for_step(cluster, tmp_path / "run", 1, done.job, jobs, out_of=None)
    os.kill(training_of_rank(1, done.job), signal.SIGKILL)
    assert cluster.wait_for_end(done.job)["JobState"] == "FAILED"
    assert "rank 1 failed (exit code 137); 0 restarts led no further" in everything_said(
        cluster, done.job, jobs
    )
    assert "ended (FAILED): step" in jepa("status", tmp_path / "run").out


@pytest.mark.slow  # more than a minute; `make test-cluster` runs it
def test_a_node_that_dies(
    cluster: MiniSlurm,
    submitted: Callable[[], tuple[str, Path]],
    logs: Path,
    undisturbed: Undisturbed,
) -> None:
    number, run = submitted()
    wait_for_step(cluster, run, SAVED, number, logs)
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
    cluster: MiniSlurm, number: str, run: Path, logs: Path, undisturbed: Undisturbed
) -> None:
    job = finish(cluster, number, logs)
    assert int(job["Restarts"]) == 1, everything_said(cluster, number, logs)
    said = (run / "log.txt").read_text()
    assert f"of {NUM_STEPS}" in said.partition("continuing at step ")[2]
    assert weights(run) == undisturbed.weights
