"""The batch script: written without SLURM, as a shell that reads it understands it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jepakit.launch.slurm import RENDEZVOUS, SubmittedTask, batch_script, submit
from jepakit.launch.slurm_settings import SlurmSettings

pytest.importorskip("submitit")


@pytest.fixture(autouse=True)
def _no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this machine has it or not."""
    monkeypatch.setenv("PATH", str(tmp_path))


def script(**settings: Any) -> str:
    return batch_script(SlurmSettings.model_validate(settings), Path("/logs"))


def flags(text: str) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE))


def test_all_settings_reach_sbatch() -> None:
    asked = flags(
        script(
            **{"partition": "learn", "nodes": 2, "gpus_per_node": 8, "time": "2-00"},
            **{"memory_per_gpu": "55G", "cpus_per_task": 10, "constraint": "a100&nvlink"},
            **{"account": "vision", "qos": "high", "exclude": "n[3-5],n9", "name": "huge"},
            **{"seconds_to_save": 300, "options": {"reservation": "week"}},
        )
    )
    assert (asked["nodes"], asked["ntasks-per-node"], asked["gpus-per-node"]) == ("2", "8", "8")
    assert (asked["partition"], asked["time"], asked["cpus-per-task"]) == ("learn", "2880", "10")
    assert (asked["mem-per-gpu"], asked["account"], asked["qos"]) == ("55G", "vision", "high")
    assert asked["constraint"] == "'a100&nvlink'"
    assert (asked["exclude"], asked["reservation"]) == ("'n[3-5],n9'", "week")
    assert (asked["job-name"], asked["signal"]) == ("huge", "USR2@300")
    assert (asked["requeue"], asked["open-mode"]) == ("", "append")
    assert asked["output"] == "/logs/job_%j/%j_0_log.out"


def test_what_is_not_said_is_left_to_the_cluster() -> None:
    asked = flags(script(gpus_per_node=0, memory_per_gpu="55G"))
    left_out = {"partition", "mem", "mem-per-gpu", "cpus-per-task", "gpus-per-node", "account"}
    assert not left_out & asked.keys()


def command(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("srun "))


def test_containers() -> None:
    plain = command(script())
    assert plain.endswith(f"{sys.executable} -u -m submitit.core._submit '/logs/job_%j'") or (
        plain.endswith(f"{sys.executable} -u -m submitit.core._submit /logs/job_%j")
    )
    assert "--kill-on-bad-exit=1" in plain
    pyxis = command(script(container="image.sqsh", container_mounts="/data:/data"))
    assert "--container-image=image.sqsh --container-mounts=/data:/data bash -c" in pyxis
    assert "python3 -u -m submitit" in pyxis
    words = {"container": "image.sif", "container_runner": "apptainer", "python": "/opt/python"}
    apptainer = command(script(container_mounts="/data", **words))
    assert "apptainer exec --nv --bind /data image.sif /opt/python -u -m submitit" in apptainer


def test_variables_and_setup_lines_come_before_the_start() -> None:
    text = script(setup=["module load cuda", "ulimit -n 4096"], environment={"A": 'it\'s "so"'})
    lines = text.splitlines()
    begin = lines.index("module load cuda")
    assert lines[begin + 1] == "ulimit -n 4096"
    assert lines.index(command(text)) > begin
    (export,) = [line for line in lines if line.startswith("export A=")]
    told = subprocess.run(
        ["/bin/bash", "-c", f'{export}; printf %s "$A"'], capture_output=True, text=True, timeout=20
    )
    assert told.stdout == 'it\'s "so"'


def test_a_port_that_somebody_listens_on_is_not_taken(tmp_path: Path) -> None:
    """The lines of the script, with a `RANDOM` that begins with such a port."""
    import socket

    with socket.socket() as listener:
        for port in range(10_000, 30_000):
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            break
        listener.listen()
        (tmp_path / "scontrol").write_text("#!/bin/sh\necho 127.0.0.1\necho 127.0.0.2\n")
        (tmp_path / "scontrol").chmod(0o755)
        lines = "\n".join(RENDEZVOUS).replace("RANDOM", f"{port - 10_000} + TRIES++")
        told = subprocess.run(
            ["/bin/bash", "-c", f"TRIES=0\n{lines}\necho $MASTER_ADDR $MASTER_PORT"],
            env={"PATH": f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin"},
            capture_output=True,
            text=True,
            timeout=20,
        )
    address, chosen = told.stdout.split()
    assert address == "127.0.0.1"
    assert port < int(chosen) < 30_000


def test_without_slurm_the_user_is_told(tmp_path: Path) -> None:
    task = SubmittedTask(("--version",), tmp_path, tmp_path, "cpu", 3, 60)
    with pytest.raises(ValueError, match=r"To train on this machine use main\.py"):
        submit(task, SlurmSettings(), tmp_path)


def test_without_submitit_the_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"pip install 'jepakit\[slurm\]'"):
        script()
