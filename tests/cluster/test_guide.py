"""The guide "My first cluster run", every command of it word for word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.conftest import ROOT
from tests.cluster.mini_slurm import MiniSlurm, wait_until

from jepakit.runs.run_state import run_state

GUIDE = ROOT / "docs" / "guides" / "my-first-cluster-run.md"
SECONDS = 240


def commands() -> list[str]:
    """The lines of the guide's blocks."""
    blocks = re.findall(r"^```\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The repository, but what is written there is nobody else's."""
    for name in ("configs", "main_distributed.py", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_the_guide(cluster: MiniSlurm, clone: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{cluster.environment['PATH']}"
    run = clone / "runs" / "first-job"
    said: dict[str, list[str]] = {}
    for command in commands():
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=clone,
            env=cluster.environment | {"PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said.setdefault(command, []).append(done.stdout)
        if "--slurm" in command and "--dry-run" not in command:
            wait_for_a_step(cluster, run, begun_at=run_state(run).step)
    assert run_state(run).is_finished
    assert "#SBATCH --nodes=2" in said[commands()[1]][0]
    (status,) = said["jepa status runs/first-job"]
    assert "running: step" in status
    (stopped,) = said["jepa stop runs/first-job"]
    assert "stopped at step" in stopped
    assert "Finished: " in said["jepa logs runs/first-job"][0]


def wait_for_a_step(cluster: MiniSlurm, run: Path, begun_at: int) -> None:
    """As a reader would before looking."""
    wait_until(
        lambda: run_state(run).step > begun_at,
        "a step is done",
        lambda: cluster.run("scontrol", "show", "job"),
    )
