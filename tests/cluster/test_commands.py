"""What users type on a cluster: submitting, looking, stopping; and what they are told."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cluster.conftest import (
    NUM_STEPS,
    Done,
    config,
    finish,
    wait_for_step,
)
from tests.cluster.mini_slurm import MiniSlurm

from jepakit.runs.run_state import run_state

LONG = {"optimization": {"epochs": 100_000, "warmup_epochs": 1}}


def test_two_by_two_processes_by_the_literal_words(
    cluster: MiniSlurm, jepa: Callable[..., Done], tmp_path: Path
) -> None:
    file = config(tmp_path / "c.yaml", optimization={"epochs": 1, "warmup_epochs": 0.5})
    done = jepa(
        *("pretrain", file, "--slurm", "partition=lab", "nodes=2", "gpus_per_node=2"),
        *("memory_per_gpu=55G", "cpus_per_task=10", "time=60", "environment.COLOUR=dark blue"),
        *("setup=echo hello from the batch script", "batch.device=4"),
    )
    assert (done.code, done.err) == (0, "")
    jobs = tmp_path / "run" / "jobs"
    job = finish(cluster, done.job, jobs)
    assert (job["NumNodes"], job["NumTasks"], job["TresPerNode"]) == ("2", "4", "gres:gpu:2")
    assert (job["CPUs/Task"], job["TimeLimit"], job["Partition"]) == ("10", "01:00:00", "lab")
    assert run_state(tmp_path / "run").step == 4

    first = jepa("logs", tmp_path / "run", "--no-follow", "--lines", 100)
    assert "hello from the batch script" in first.out
    assert "on 4 processes" in first.out
    assert "but torch finds none: training on the CPU" in first.out
    last = jepa("logs", jobs, "--no-follow", "--rank", 3, "--lines", 100)
    assert "hostname=n2" in last.out
    assert "global_rank=3(4)" in last.out
    assert "has 4 processes: --rank 0 to 3" in jepa("logs", jobs, "--rank", 4).err

    told = jepa("status", tmp_path / "run").out
    assert "finished: step 4 of 4, epoch 1.00 of 1, loss" in told
    assert re.search(rf"job {done.job}: COMPLETED for \S+ of 01:00:00 on n\[1-2\]; logs in", told)


@pytest.fixture
def long_job(
    cluster: MiniSlurm, jepa: Callable[..., Done], tmp_path: Path
) -> Iterator[tuple[str, Path]]:
    """A job of two nodes in the midst of a training without end: its number and run folder."""
    file = config(tmp_path / "long.yaml", **LONG)
    done = jepa("pretrain", "--slurm", "partition=lab,nodes=2", "time=1:00:00", file)
    run = tmp_path / "run"
    wait_for_step(cluster, run, 5, done.job, run / "jobs", out_of=None)
    yield done.job, run
    cluster.run("scancel", done.job, may_fail=True)


def test_a_running_job_is_looked_at_followed_and_stopped(
    cluster: MiniSlurm, jepa: Callable[..., Done], long_job: tuple[str, Path]
) -> None:
    number, run = long_job
    assert "running: step" in jepa("status", run).out
    follower = subprocess.Popen(
        [sys.executable, "-m", "jepakit", "logs", str(run)], stdout=subprocess.PIPE, text=True
    )
    done = jepa("stop", run)
    assert done.code == 0
    assert f"{run}: stopped at step" in done.out
    said, _ = follower.communicate(timeout=120)
    assert "and saved; the same command continues" in said
    assert cluster.job(number)["JobState"] == "COMPLETED"
    (newest,) = {path.name for path in run.glob("checkpoints/*")} & {
        f"step-{run_state(run).step:08d}"
    }
    assert newest
    told = jepa("status", run).out
    assert "  stopped: step" in told
    assert "nothing runs here" in jepa("stop", run).err


def test_a_job_that_cannot_start_is_told_and_taken_back(
    cluster: MiniSlurm, jepa: Callable[..., Done], tmp_path: Path
) -> None:
    file = config(tmp_path / "c.yaml")
    done = jepa("pretrain", file, "--slurm", "partition=lab", "nodes=3")
    assert re.search(r"cannot start \(Partition\w+\): .*: lower nodes", done.err), done
    told = jepa("status", tmp_path / "run").out
    assert "  waiting: no step logged yet" in told
    assert re.search("it cannot start: .*: lower nodes", told), told
    jepa("stop", tmp_path / "run")
    assert cluster.job(done.job)["JobState"] == "CANCELLED"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["partition=learn"],
            "SLURM refuses partition 'learn'",
        ),
        (["partition=lab", "gpus_per_node=9"], "no nodes can do what is asked for"),
        (["partiton=lab"], "--slurm: unknown setting 'partiton': did you mean 'partition'?"),
        (["time=soon"], "'soon' is not a time: write minutes"),
    ],
)
def test_refusals_are_told_in_one_sentence_and_leave_nothing(
    jepa: Callable[..., Done], tmp_path: Path, words: list[str], sentence: str
) -> None:
    done = jepa("pretrain", config(tmp_path / "c.yaml"), "--slurm", *words)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("jepa: ")
    assert sentence in line
    assert not list(tmp_path.glob("run/jobs/*.pkl")) + list(tmp_path.glob("run/jobs/job_*"))


def test_batch_launch(
    cluster: MiniSlurm, distributed: Callable[..., Done], jepa: Callable[..., Done], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        config(tmp_path / name / f"{name}.yaml")
    listing = tmp_path / "list.txt"
    listing.write_text("# two runs\none/one.yaml\ntwo/two.yaml\n")
    words = ("--fname", listing, "--folder", tmp_path / "logs", "--partition", "lab")
    done = distributed(*words, "--batch-launch", "--time", 10)
    numbers = re.findall(r"(\w+)\.yaml: job (\d+), logs in", done.out)
    assert [name for name, _ in numbers] == ["one", "two"]
    for name, number in numbers:
        finish(cluster, number, tmp_path / "logs")
        assert run_state(tmp_path / name / "run").step == NUM_STEPS
    told = jepa("status", tmp_path / "logs").out
    assert told.count(f"finished: step {NUM_STEPS} of {NUM_STEPS}") == 2


def test_a_refused_batch_submits_none(
    cluster: MiniSlurm, distributed: Callable[..., Done], tmp_path: Path
) -> None:
    config(tmp_path / "one.yaml")
    (tmp_path / "list.txt").write_text("one.yaml\nmissing.yaml\n")
    words = ("--fname", tmp_path / "list.txt", "--folder", tmp_path / "logs", "--batch-launch")
    before = cluster.run("squeue", "--noheader", "--format=%i")
    done = distributed(*words)
    assert (done.code, done.out) == (2, "")
    assert "there is no config file" in done.err
    assert cluster.run("squeue", "--noheader", "--format=%i") == before


def test_a_cluster_without_gpus(
    at: Callable[[MiniSlurm], None],
    distributed: Callable[..., Done],
    jepa: Callable[..., Done],
    tmp_path: Path,
) -> None:
    file = config(tmp_path / "c.yaml")
    with MiniSlurm(num_gpus=0) as other:
        at(other)
        done = jepa("pretrain", file, "--slurm", "gpus_per_node=1")
        assert "this cluster has no such GPUs" in done.err
        assert "write gpus_per_node=0 to train on CPUs" in done.err
        words = ("--fname", file, "--folder", tmp_path / "logs", "--partition", "lab")
        done = distributed(*words, "--nodes", 1, "--tasks-per-node", 2, "--memory-per-gpu", "55G")
        assert "partition lab has no GPUs: 2 processes will train on CPUs" in done.err
        finish(other, done.job, tmp_path / "logs")
    assert run_state(tmp_path / "run").step == NUM_STEPS
