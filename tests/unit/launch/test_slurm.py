"""Jobs for a cluster: what is asked of it, and that a preempted run is queued again."""

from __future__ import annotations

import os
import re
import runpy
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from jepakit.launch.slurm import Request, Task, submit, visible_device

ROOT = Path(__file__).parents[3]


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return Request(tmp_path / "logs", None, 1, 2, 3, device="cpu")


@pytest.fixture
def pretended_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`sbatch` and `srun` that accept everything; returns the folder of submitted scripts."""
    pytest.importorskip("submitit")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sbatch", "srun", "scontrol", "sacct"):
        program = programs / name
        program.write_text(
            f'#!/bin/sh\ncp "$1" {programs}/$$.{name}.txt\necho "Submitted batch job 77"\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return programs


@pytest.fixture
def distributed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs `main_distributed.py` with words, without the seconds that a new process would take."""

    def run(*words: object) -> Done:
        script = str(ROOT / "main_distributed.py")
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(script, run_name="__main__")
        written = capfd.readouterr()
        return Done(ended.value.code, written.out, written.err)

    return run


class Done(NamedTuple):
    code: object  # a text is printed by Python and makes the exit code 1
    out: str
    err: str


def filled_in(path: Path, name: str) -> Path:
    text = (ROOT / "configs" / f"{name}.yaml").read_text()
    text = text.replace("$YOUR_PATH_TO_IMAGES", "/pictures")
    path.write_text(text.replace("$YOUR_PATH_FOR_OUTPUTS", "/runs"))
    return path


def flags(script: str) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.MULTILINE))


def test_a_file_becomes_a_job_of_the_asked_size(
    tmp_path: Path, pretended_slurm: Path, distributed: Callable[..., Done]
) -> None:
    config = filled_in(tmp_path / "huge.yaml", "in1k_vith14_ep300")
    done = distributed(
        *("--fname", config, "--folder", tmp_path / "logs", "--partition", "learn"),
        *("--nodes", 2, "--tasks-per-node", 8, "--time", 4300),
    )
    assert (done.code, done.err) == (0, "")
    assert "huge.yaml: job 77, logs in" in done.out
    (script,) = (path.read_text() for path in pretended_slurm.glob("*.sbatch.txt"))
    asked = flags(script)
    assert asked["partition"] == "learn"
    assert (asked["nodes"], asked["ntasks-per-node"], asked["gpus-per-node"]) == ("2", "8", "8")
    assert (asked["time"], asked["cpus-per-task"]) == ("4300", "10")
    assert asked["output"].startswith(str(tmp_path / "logs" / "job_%j"))
    assert asked["signal"] == "USR2@120"


@pytest.mark.parametrize("style", ["lines", "yaml"])
def test_batch_launch_submits_one_job_per_listed_file(
    tmp_path: Path, pretended_slurm: Path, distributed: Callable[..., Done], style: str
) -> None:
    names = ("in1k_vith14_ep300", "in22k_vitg16_ep44")
    for name in names:
        filled_in(tmp_path / f"{name}.yaml", name)
    listing = tmp_path / "list.yaml"
    mark = "- " if style == "yaml" else ""
    listing.write_text("# two runs\n" + "".join(f"{mark}{name}.yaml\n" for name in names))
    done = distributed(
        "--fname", listing, "--folder", tmp_path / "logs", "--partition", "p", "--batch-launch"
    )
    assert (done.code, done.err) == (0, "")
    assert [line.split(":")[0].rpartition("/")[2] for line in done.out.splitlines()] == [
        f"{name}.yaml" for name in names
    ]
    (script,) = (path.read_text() for path in pretended_slurm.glob("*.sbatch.txt"))
    assert flags(script)["array"].startswith("0-1")


@pytest.mark.usefixtures("pretended_slurm")
def test_files_are_checked_before_anything_is_submitted(
    tmp_path: Path, distributed: Callable[..., Done]
) -> None:
    unfilled = ROOT / "configs" / "in1k_vith14_ep300.yaml"
    done = distributed("--fname", unfilled, "--folder", tmp_path / "logs")
    assert str(done.code).startswith("jepa: logging.folder still is the placeholder")
    done = distributed("--fname", unfilled, "--folder", tmp_path / "logs", "--batch-launch")
    assert "must list config files, one per line" in str(done.code)


def test_without_slurm_the_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"To train on this machine use main\.py"):
        submit([["true"]], Request(tmp_path, None, 1, 1, 1))


def test_without_submitit_the_user_is_told(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"pip install 'jepakit\[slurm\]'"):
        submit([["true"]], request_)


def test_a_task_that_is_shown_one_device_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert visible_device(2) == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert visible_device(2) == 2
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_device(2) == 2


RECORD = """
import os, pathlib, sys
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "JEPAKIT_DEVICE")
told = " ".join(os.environ[name] for name in names)
pathlib.Path(sys.argv[1], os.environ["RANK"]).write_text(told)
"""


def test_the_tasks_of_a_job_are_told_their_places(tmp_path: Path, request_: Request) -> None:
    pytest.importorskip("submitit")
    places = tmp_path / "places"
    places.mkdir()
    (job,) = submit([[sys.executable, "-S", "-c", RECORD, str(places)]], request_, "local")
    job.results()
    told = [path.read_text().split() for path in sorted(places.iterdir())]
    assert [t[:3] for t in told] == [["0", "2", "0"], ["1", "2", "1"]]
    assert told[0][3:5] == told[1][3:5]
    assert {t[5] for t in told} == {"cpu"}


def test_a_failing_task_fails_its_job(request_: Request) -> None:
    submitit = pytest.importorskip("submitit")
    (job,) = submit([[sys.executable, "-S", "-c", "raise SystemExit(3)"]], request_, "local")
    with pytest.raises(submitit.core.utils.FailedJobError, match="ended with exit code 3"):
        job.results()


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
    task = Task((sys.executable, "-S", "-c", OBEY, str(tmp_path)), "cpu")
    task.process = subprocess.Popen(task.command)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    delayed = task.checkpoint()
    assert (tmp_path / "saved").exists()
    assert task.process.wait() == 128 + signal.SIGUSR2
    assert isinstance(delayed.function, Task)
    assert (delayed.function.command, delayed.function.process) == (task.command, None)
