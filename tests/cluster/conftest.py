"""A SLURM cluster for the tests, and this package's command lines beside it."""

from __future__ import annotations

import os
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from tests.cluster.mini_slurm import MiniSlurm, wait_until, what_is_missing

from jepakit.cli import main as jepa_main
from jepakit.runs.run_state import run_state

ROOT = Path(__file__).parents[2]
REQUIRED = os.environ.get("JEPAKIT_CLUSTER") == "required"

CONFIG = """
data:
  source: {kind: scenes, num_pictures: 64, size: 32}
  view: {size: 32}
  num_workers: 0
precision: fp32
encoder: {size: null, width: 32, depth: 1, num_heads: 2, patch: 8}
predictor: {width: 16, depth: 1, num_heads: 2}
optimization: {epochs: 20, warmup_epochs: 1}
batch: {size: 16, device: 8}
checkpoint: {every_steps: 10, every_minutes: null}
logging: {every: 1, tensorboard: false}
monitors:
  collapse: {every: 0}
  position_collapse: {every: 0}
  online_probe: {every: 0}
  masks: {every: 0}
  gradients: {every: 0}
  throughput: {every: 0}
  target_distance: {every: 0}
"""
NUM_STEPS = 80


class Done(NamedTuple):
    """What a command printed, and its exit code."""

    code: object
    out: str
    err: str

    @property
    def job(self) -> str:
        """The number of the job that was submitted."""
        found = re.search(r"job (\d+), logs in", self.out)
        assert found, self
        return found[1]


@pytest.fixture(scope="session")
def cluster() -> Iterator[MiniSlurm]:
    """Two nodes with eight pretended GPUs each; skipped, with the reason, where SLURM is not."""
    missing = what_is_missing()
    if missing and REQUIRED:
        pytest.fail(f"the tests on a SLURM cluster are required, but {missing}")
    if missing:
        pytest.skip(f"no SLURM cluster can be started here: {missing}; see `make test-cluster`")
    with MiniSlurm() as slurm:
        yield slurm


@pytest.fixture
def at(
    cluster: MiniSlurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[MiniSlurm], None]:
    """`at(cluster)`: from here on commands of this process reach that cluster."""

    def go(slurm: MiniSlurm) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(name, slurm.environment[name])

    return go


@pytest.fixture
def jepa(
    cluster: MiniSlurm, at: Callable[[MiniSlurm], None], capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs `jepa WORDS` in this process, without the seconds that a new one would take."""
    at(cluster)

    def run(*words: object) -> Done:
        with pytest.raises(SystemExit) as ended:
            jepa_main([str(word) for word in words])
        written = capfd.readouterr()
        return Done(ended.value.code or 0, written.out, written.err)

    return run


@pytest.fixture
def distributed(
    cluster: MiniSlurm,
    at: Callable[[MiniSlurm], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., Done]:
    """Runs `main_distributed.py WORDS` in this process."""
    at(cluster)
    script = str(ROOT / "main_distributed.py")

    def run(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(script, run_name="__main__")
        written = capfd.readouterr()
        return Done(ended.value.code or 0, written.out, written.err)

    return run


def config(path: Path, **changes: object) -> Path:
    """A file that describes a training of seconds; it writes into `run` beside the file."""
    content = yaml.safe_load(CONFIG) | {"folder": str(path.parent / "run")} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def weights(run: Path) -> bytes:
    """The whole state at the end: networks, moments, random state."""
    (path,) = run.glob(f"checkpoints/step-*{NUM_STEPS}/state.safetensors")
    return path.read_bytes()


def everything_said(cluster: MiniSlurm, number: str, logs: Path) -> str:
    """A job's state, and the output of all its processes."""
    told = [str(cluster.job(number))]
    for path in sorted((logs / f"job_{number}").glob("*.out")):
        told += [f"--- {path.name}", path.read_text(errors="replace")[-6000:]]
    return "\n".join(told)


def wait_for_step(
    cluster: MiniSlurm,
    run: Path,
    step: int,
    number: str,
    logs: Path,
    out_of: int | None = NUM_STEPS,
) -> None:
    """Return when so many steps are done, out of more."""
    wait_until(
        lambda: run_state(run).step >= step,
        f"step {step} is done",
        lambda: everything_said(cluster, number, logs),
    )
    if out_of is not None:
        assert run_state(run).step < out_of, "too late to disturb it: let it train longer"


def finish(cluster: MiniSlurm, number: str, logs: Path) -> dict[str, str]:
    """The job when it has COMPLETED; fails with all that was said if it ended otherwise."""
    job = cluster.wait_for_end(number)
    assert job["JobState"] == "COMPLETED", everything_said(cluster, number, logs)
    return job
