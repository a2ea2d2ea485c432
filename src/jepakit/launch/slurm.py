"""One process per device on a SLURM cluster, through submitit; a preempted run is queued again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepakit.launch.local import exit_code, num_cores

SECONDS_TO_SAVE = 120  # between the signal that a job must end and its end
MOST_RESTARTS = 1000  # a run of weeks outlives many time limits
SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Request:
    """What is asked of the cluster for one run."""

    folder: Path  # each job logs into `folder/job_<its number>`
    partition: str | None
    nodes: int
    tasks_per_node: int  # as many GPUs per node, unless `device` is "cpu"
    minutes: int
    cpus_per_task: int | None = None  # None: as the cluster sees fit
    device: str = "cuda"

    @property
    def num_processes(self) -> int:
        """Processes of the whole run."""
        return self.nodes * self.tasks_per_node


def submit(
    commands: Sequence[Sequence[str]], request: Request, cluster: str = "slurm"
) -> list[Any]:
    """Submit one job per command and return submitit's jobs.

    Every task of a job runs the command as a rank of one group, with the variables that
    `launch.local` gives, too. `ValueError` if submitit is not installed or there is no SLURM.
    """
    executor = _executor(request, cluster)
    tasks = [Task(tuple(command), request.device) for command in commands]
    if len(tasks) == 1:
        return [executor.submit(tasks[0])]
    with executor.batch():
        jobs = [executor.submit(task) for task in tasks]
    return jobs


def _executor(request: Request, cluster: str) -> Any:
    try:
        import submitit
    except ImportError:
        raise ValueError(
            "submitting jobs needs the package submitit: pip install 'jepakit[slurm]'"
        ) from None
    try:
        executor = submitit.AutoExecutor(
            request.folder / "job_%j", cluster=cluster, slurm_max_num_timeout=MOST_RESTARTS
        )
    except RuntimeError as error:
        raise ValueError(f"{error} To train on this machine use main.py instead") from None
    executor.update_parameters(
        name="jepa",
        nodes=request.nodes,
        tasks_per_node=request.tasks_per_node,
        gpus_per_node=0 if request.device == "cpu" else request.tasks_per_node,
        timeout_min=request.minutes,
    )
    if request.cpus_per_task is not None:
        executor.update_parameters(cpus_per_task=request.cpus_per_task)
    if cluster == "slurm":
        executor.update_parameters(
            slurm_partition=request.partition, slurm_signal_delay_s=SECONDS_TO_SAVE
        )
    return executor


class Task:
    """What one task of a job runs; submitit stores it, and calls `checkpoint` on preemption."""

    def __init__(self, command: tuple[str, ...], device: str) -> None:
        self.command = command
        self.device = device
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Train as this task's rank; `RuntimeError` if that fails."""
        place = _place(self.device)
        self.process = subprocess.Popen(self.command, env={**os.environ, **place})
        code = self._wait()
        if code > 128:
            # It obeyed a signal. If the job is to be queued again, `checkpoint` is about to be
            # called in the first task; failing before would end the job for good.
            time.sleep(SECONDS_TO_SAVE)
        if code:
            raise RuntimeError(f"rank {place['RANK']} ended with exit code {code}")

    def checkpoint(self) -> Any:
        """Let the training save and end, then ask to be queued again: it continues by itself."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            # Popen's own wait is under way in `__call__`, which this interrupts, and is not
            # reentrant; so look at the process without it.
            self.process.send_signal(signal.SIGUSR2)
            _wait_for(self.process.pid, SECONDS_TO_SAVE)
        return DelayedSubmission(Task(self.command, self.device))

    def _wait(self) -> int:
        assert self.process is not None
        while (code := self.process.poll()) is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return exit_code(code)


def _wait_for(pid: int, seconds: int) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                return
        except ChildProcessError:
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _place(device: str) -> dict[str, str]:
    """This task's variables, from the scheduler's."""
    from submitit import JobEnvironment

    job = JobEnvironment()
    number = int("".join(c for c in job.job_id if c.isdigit()))
    variables = {
        "RANK": str(job.global_rank),
        "WORLD_SIZE": str(job.num_tasks),
        "LOCAL_RANK": str(job.local_rank),
        "MASTER_ADDR": job.hostnames[0],
        "MASTER_PORT": str(20000 + number % 20000),  # the same for all tasks, another per job
        "JEPAKIT_DEVICE": device,
    }
    if device == "cuda":
        variables["JEPAKIT_DEVICE"] = f"cuda:{visible_device(job.local_rank)}"
    elif "OMP_NUM_THREADS" not in os.environ:
        per_node = max(1, job.num_tasks // job.num_nodes)
        cores = int(os.environ.get("SLURM_CPUS_PER_TASK", max(1, num_cores() // per_node)))
        variables["OMP_NUM_THREADS"] = str(cores)
    return variables


def visible_device(local_rank: int) -> int:
    """A task that is shown a single GPU uses it; one that is shown all uses its own."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return 0 if len(shown) == 1 and shown[0] else local_rank


def training_command(config: Path) -> list[str]:
    """The command that trains with a config file, from any directory."""
    return [sys.executable, "-m", "jepakit", "pretrain", str(config.resolve())]
