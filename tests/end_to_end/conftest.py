"""`jepa` command lines in processes of their own that need not import everything again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

SECONDS_TO_WAIT = 120

# Imports everything once, then forks a process for every line: a command, as if typed.
SERVER = """
import json, os, sys
import torch, jepakit.commands.doctor, jepakit.commands.evaluate, jepakit.commands.pretrain
from jepakit.cli import main

for line in sys.stdin:
    job = json.loads(line)
    watcher = os.fork()
    if watcher == 0:
        child = os.fork()
        if child == 0:
            os.setsid()
            os.chdir(job["folder"])
            os.environ.update(job["environment"])
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
            main(job["words"])
            sys.exit(0)
        os.close(0)
        with open(job["pid"] + ".part", "w") as file:
            file.write(str(child))
        os.rename(job["pid"] + ".part", job["pid"])
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with open(job["code"] + ".part", "w") as file:
            file.write(str(code))
        os.rename(job["code"] + ".part", job["code"])
        os._exit(0)
"""


class Command:
    """A `jepa` command that was started."""

    def __init__(
        self,
        server: subprocess.Popen[str],
        folder: Path,
        *words: object,
        environment: dict[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / f"command-{time.monotonic_ns()}"
        self.words = [str(word) for word in words]
        self.files = {name: place.with_suffix(f".{name}") for name in ("out", "err", "pid", "code")}
        for name in ("out", "err"):
            self.files[name].touch()
        job = {name: str(path) for name, path in self.files.items()}
        job |= {"words": self.words, "folder": str(folder)}  # type: ignore[dict-item]
        job |= {"environment": environment or {}}  # type: ignore[dict-item]
        assert server.stdin is not None
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        wait_until(self.files["pid"].exists)
        self.pid = int(self.files["pid"].read_text())

    def is_running(self) -> bool:
        return not self.files["code"].exists()

    def wait(self) -> int:
        """The exit code; negative if a signal killed it."""
        wait_until(self.files["code"].exists)
        return int(self.files["code"].read_text())

    def workers(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self, with_workers: bool = True) -> None:
        """SIGKILL."""
        if with_workers:
            os.killpg(self.pid, signal.SIGKILL)
        else:
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    @property
    def said(self) -> str:
        return self.files["err"].read_text() + self.files["out"].read_text()

    @property
    def errors(self) -> str:
        return self.files["err"].read_text()

    @property
    def output(self) -> str:
        return self.files["out"].read_text()


Jepa = Callable[..., Command]


def wait_until(happened: Callable[[], bool], seconds: float = SECONDS_TO_WAIT) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


@pytest.fixture(scope="session")
def jepa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jepa]:
    """`jepa("pretrain", ..., folder=...)` starts a command."""
    cache = tmp_path_factory.mktemp("cache")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JEPAKIT_")}
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env={
            **kept,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "JEPAKIT_CACHE": str(cache),
        },
        stdin=subprocess.PIPE,
        text=True,
    )
    with server:
        yield lambda *words, folder, environment=None: Command(
            server, folder, *words, environment=environment
        )
        assert server.stdin is not None
        server.stdin.close()


TINY = """
folder: run
precision: fp32
data:
  source: {kind: scenes, num_pictures: 100, size: 32}
  view: {size: 32}
  num_workers: 2
encoder: {size: null, width: 32, depth: 2, num_heads: 2, patch: 8}
predictor: {width: 16, depth: 1, num_heads: 2}
optimization: {epochs: 6.7, warmup_epochs: 1}
batch: {size: 16, device: 8}
checkpoint: {every_steps: 3, every_minutes: null}
logging: {every: 1, tensorboard: false}
monitors:
  probe_train: 16
  probe_test: 16
  collapse: {every: 7}
  masks: {every: 5}
  gradients: {every: 4}
  throughput: {every: 10}
  online_probe: {every: 9}
"""


@pytest.fixture(scope="session")
def tiny_text() -> str:
    """What the tiny config says."""
    return TINY


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A config of 40 steps, two micro-batches each, that trains in seconds; its run is `run`."""
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY)
    return config


@pytest.fixture(scope="session")
def finished(jepa: Jepa, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the tiny config, trained without interruption. Copy it before you write."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(TINY)
    command = jepa("pretrain", "tiny.yaml", folder=folder)
    assert command.wait() == 0, command.said
    return folder / "run"


@pytest.fixture
def finished_copy(finished: Path, tiny: Path) -> Path:
    """A copy of the finished run, beside the tiny config."""
    return shutil.copytree(finished, tiny.parent / "run")
