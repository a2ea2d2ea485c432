"""Runs a function of a test file in several processes that talk to each other over gloo."""

from __future__ import annotations

import inspect
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jepakit.core.distributed import Place, leave
from jepakit.core.joining import ProcessSettings, join

SECONDS = 600  # until a group that hangs is ended; on a free machine a few are enough


def run(function: Callable[..., Any], world_size: int, *arguments: str) -> list[Any]:
    """What `function(*arguments)` returns in each process, by rank; tensors and plain values.

    Every process reads the function's file anew and has joined the group when it calls it.
    """
    called = [inspect.getfile(function), function.__name__, json.dumps(arguments)]
    with tempfile.TemporaryDirectory() as folder:
        results = [Path(folder) / f"{rank}.pt" for rank in range(world_size)]
        port = free_port()
        processes = [
            subprocess.Popen(
                [sys.executable, "-W", "error", __file__, *called, str(result)],
                env={**os.environ, **place_in_group(rank, world_size, port)},
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank, result in enumerate(results)
        ]
        end = time.monotonic() + SECONDS
        try:
            for rank, process in enumerate(processes):
                _, errors = process.communicate(timeout=max(1.0, end - time.monotonic()))
                assert process.returncode == 0, f"process {rank} failed:\n{errors}"
        finally:
            for process in processes:
                process.kill()
                process.wait()
                process.stderr.close()
        return [torch.load(result) for result in results]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def place_in_group(rank: int, world_size: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def run_distributed_test() -> Callable[..., list[Any]]:
    return run


if __name__ == "__main__":
    file, name, given, destination = sys.argv[1:]
    patient = ProcessSettings(join_seconds=SECONDS, hang_seconds=SECONDS)
    join(Place.from_environment(), torch.device("cpu"), patient, alone=True)
    torch.save(runpy.run_path(file)[name](*json.loads(given)), destination)
    leave()
