"""Jobs for a SLURM cluster, through submitit: the batch script, its submission, its refusals."""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from jepakit.launch.slurm_queue import last_line, partitions
from jepakit.launch.slurm_settings import SlurmSettings
from jepakit.launch.slurm_task import Task

MOST_RESTARTS = 1000  # a run of weeks outlives many time limits
# In the batch script, which runs on the first node, again at every start. The ports are below those
# that Linux gives to outgoing connections; one that somebody listens on is not taken.
RENDEZVOUS = (
    'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
    "export MASTER_PORT=$((10000 + RANDOM % 20000))",
    "while (echo > /dev/tcp/$MASTER_ADDR/$MASTER_PORT) 2> /dev/null; do",
    "  MASTER_PORT=$((10000 + RANDOM % 20000))",
    "done",
)
# The signal to save may come before Python listens; it would then end the job for good.
NOT_YET = ("bash", "-c", 'trap "" USR2; exec "$0" "$@"')
SUBMITIT = "submitting jobs needs the package submitit: pip install 'jepakit[slurm]'"


class SubmittedTask(Task):
    """A task that submitit stores, starts, and asks to save when its job is preempted."""

    def checkpoint(self) -> Any:
        """Called in the first task: save, then be queued again; the run continues by itself."""
        from submitit.helpers import DelayedSubmission

        self.save_and_end()
        return DelayedSubmission(replace(self))


def submit(task: SubmittedTask, settings: SlurmSettings, logs: Path) -> str:
    """Submit a job, all of whose processes run the task as ranks of one group; returns its number.

    `ValueError`, with what to change, if SLURM refuses, is not there, or submitit is not installed.
    """
    executor = _executor(settings, logs)
    from submitit.core.utils import FailedJobError

    logs.mkdir(parents=True, exist_ok=True)
    before = set(logs.iterdir())
    try:
        with redirect_stderr(StringIO()):  # submitit prints the refusal that it raises
            return str(executor.submit(task).job_id)
    except FailedJobError as error:
        for path in set(logs.iterdir()) - before:  # what submitit had prepared
            if path.suffix == ".pkl" or path.name.startswith(".submission_file_"):
                path.unlink()
        raise ValueError(_in_words(str(error), settings)) from None


def batch_script(settings: SlurmSettings, logs: Path) -> str:
    """What would be given to `sbatch`; needs submitit, but no SLURM."""
    executor = _executor(settings, logs, on_paper=True)
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def with_gpus_counted(settings: SlurmSettings) -> SlurmSettings:
    """The settings with a number for `gpus_per_node=auto`: none where the partition has no GPUs."""
    if settings.gpus_per_node != "auto":
        return settings
    count = 0 if settings.device == "cpu" else settings.processes_per_node
    if count and not partitions().get(settings.partition or "", True):
        count = 0
    tasks = settings.processes_per_node
    return settings.model_copy(update={"gpus_per_node": count, "tasks_per_node": tasks})


def _executor(settings: SlurmSettings, logs: Path, on_paper: bool = False) -> Any:
    try:
        from submitit import SlurmExecutor
    except ImportError:
        raise ValueError(SUBMITIT) from None

    class Unseen(SlurmExecutor):  # type: ignore[misc, valid-type]
        """Writes scripts, also where there is no SLURM."""

        @classmethod
        def affinity(cls) -> int:
            """Larger than zero: as if there were."""
            return 1

    kind = Unseen if on_paper else SlurmExecutor
    try:
        executor = kind(logs / "job_%j", MOST_RESTARTS, python=_python(settings))
    except RuntimeError as error:
        raise ValueError(
            f"{error} To train on this machine use main.py, or leave --slurm out; --dry-run shows "
            "what would be submitted"
        ) from None
    executor.update_parameters(**_parameters(settings))
    return executor


def _parameters(settings: SlurmSettings) -> dict[str, Any]:
    """The settings in submitit's words."""
    gpus = settings.gpus_per_node
    parameters = {
        **{"job_name": settings.name, "partition": settings.partition, "nodes": settings.nodes},
        "ntasks_per_node": settings.processes_per_node,
        "gpus_per_node": settings.processes_per_node if gpus == "auto" else gpus or None,
        "cpus_per_task": settings.cpus_per_task,
        "time": settings.minutes,
        **{"mem": settings.memory, "mem_per_gpu": settings.memory_per_gpu},
        **{"constraint": settings.constraint, "account": settings.account},
        **{"qos": settings.qos, "exclude": settings.exclude},
        "signal_delay_s": settings.seconds_to_save,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **settings.options},
        "setup": [*settings.setup, *_exports(settings), *RENDEZVOUS],
        "srun_args": _of_srun(settings),
    }
    if parameters["gpus_per_node"] is None:
        del parameters["mem_per_gpu"]  # SLURM refuses it where no GPUs are asked for
    return {name: value for name, value in parameters.items() if value is not None}


def _exports(settings: SlurmSettings) -> list[str]:
    return [f"export {name}={shlex.quote(text)}" for name, text in settings.environment.items()]


def _of_srun(settings: SlurmSettings) -> list[str]:
    """Options for `srun`: the first task that fails ends its job; containers."""
    words = ["--kill-on-bad-exit=1"]
    if settings.cpus_per_task is not None:  # newer SLURM does not hand on what sbatch was told
        words.append(f"--cpus-per-task={settings.cpus_per_task}")
    if settings.container is not None and settings.container_runner == "pyxis":
        words.append(f"--container-image={settings.container}")
        if settings.container_mounts is not None:
            words.append(f"--container-mounts={settings.container_mounts}")
    return words


def _python(settings: SlurmSettings) -> str:
    """The words that start Python on a node."""
    python = settings.python or (sys.executable if settings.container is None else "python3")
    words = [*NOT_YET]
    if settings.container is not None and settings.container_runner == "apptainer":
        words += ["apptainer", "exec", "--nv"]
        if settings.container_mounts is not None:
            words += ["--bind", settings.container_mounts]
        words.append(settings.container)
    return shlex.join([*words, python])


def _in_words(refusal: str, settings: SlurmSettings) -> str:
    """SLURM's refusal, and what to change."""
    said = last_line(refusal)
    found = re.search(r"error: (?!Batch job submission failed: )(.*)", refusal)
    said = found[1] if found else said.removeprefix("Batch job submission failed: ")
    lowered = refusal.lower()
    if "partition" in lowered:
        names = ", ".join(sorted(name for name in partitions() if name))
        return f"SLURM refuses partition {settings.partition!r} ({said}): choose one of {names}"
    if "generic resource" in lowered or "gres" in lowered:
        return f"this cluster has no such GPUs ({said}): write gpus_per_node=0 to train on CPUs"
    if "node configuration" in lowered:
        return (
            f"no nodes can do what is asked for ({said}): `sinfo -o '%P %D %c %m %G'` shows what "
            "they have; lower gpus_per_node, cpus_per_task or memory"
        )
    return f"SLURM refuses the job: {said}"
