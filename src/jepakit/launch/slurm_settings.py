"""What is asked of a SLURM cluster for one run: machines, time, memory, container, environment."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from jepakit.core.settings import Settings

MINUTES_PER_DAY, MINUTES_PER_HOUR = 24 * 60, 60


class SlurmSettings(Settings):
    """The words after `--slurm`. Whatever is null is left to the cluster."""

    partition: str | None = Field(None, description="partition of the cluster (`sinfo` lists them)")
    nodes: int = Field(1, ge=1, description="machines")
    gpus_per_node: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="auto = one per process, if the partition has GPUs; 0 = CPUs"
    )
    tasks_per_node: Annotated[int, Field(ge=1)] | None = Field(
        None, description="processes per machine; null = one per GPU"
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="what a process trains on; auto = its GPU if torch finds one"
    )
    time: str = Field(
        "1-00:00:00", description="limit as SLURM writes it: minutes, h:min:s, days-hours"
    )
    cpus_per_task: Annotated[int, Field(ge=1)] | None = Field(
        None, description="CPU cores per process; null = data.num_workers, if that is a number"
    )
    memory: str | None = Field(None, description="per machine, e.g. 480G")
    memory_per_gpu: str | None = Field(None, description="e.g. 55G; instead of `memory`")
    constraint: str | None = Field(None, description="features that nodes must have, e.g. a100")
    account: str | None = Field(None, description="who is charged")
    qos: str | None = Field(None, description="quality of service")
    exclude: str | None = Field(None, description="nodes not to use, e.g. n[3-5]")
    container: str | None = Field(None, description="image that the processes run in")
    container_runner: Literal["pyxis", "apptainer"] = Field(
        "pyxis", description="pyxis = options of srun; apptainer = `apptainer exec --nv`"
    )
    container_mounts: str | None = Field(None, description="e.g. /data:/data,/home:/home")
    python: str | None = Field(
        None, description="Python on the nodes; null = this one, in a container `python3`"
    )
    environment: dict[str, str] = Field(
        {}, description="variables for the processes: environment.NAME=value"
    )
    setup: tuple[str, ...] = Field(
        (), description="shell lines before the start, e.g. `module load cuda`"
    )
    options: dict[str, str] = Field(
        {}, description="any other option of sbatch: options.reservation=NAME"
    )
    name: str = Field("jepa", description="of the job, as `squeue` shows it")
    logs: Path | None = Field(None, description="null = `jobs` in the run folder")
    restarts: int = Field(
        3, ge=0, description="a job that fails is queued again so often without a new checkpoint"
    )
    seconds_to_save: int = Field(
        120, ge=10, description="before the time limit, to save and be queued again"
    )

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, time: str) -> str:
        minutes_in(time)
        return time

    @field_validator("setup", mode="before")
    @classmethod
    def _lines(cls, setup: Any) -> Any:
        return tuple(setup.splitlines()) if isinstance(setup, str) else setup

    @model_validator(mode="after")
    def _fits_together(self) -> SlurmSettings:
        gpus, tasks = self.gpus_per_node, self.tasks_per_node
        if isinstance(gpus, int) and tasks is not None and 0 < gpus < tasks:
            raise ValueError(
                f"{tasks} processes cannot share gpus_per_node={gpus}: leave tasks_per_node "
                "out for one process per GPU, or write gpus_per_node=0 to train on CPUs"
            )
        if self.device == "cuda" and gpus == 0:
            raise ValueError("device=cuda needs GPUs: leave gpus_per_node=0 out")
        if self.memory is not None and self.memory_per_gpu is not None:
            raise ValueError("write memory or memory_per_gpu, not both")
        return self

    @property
    def processes_per_node(self) -> int:
        """Processes on each machine."""
        if self.tasks_per_node is not None:
            return self.tasks_per_node
        return max(1, self.gpus_per_node) if isinstance(self.gpus_per_node, int) else 1

    @property
    def num_processes(self) -> int:
        """Processes of the whole run."""
        return self.nodes * self.processes_per_node

    @property
    def minutes(self) -> int:
        """The time limit."""
        return minutes_in(self.time)


def minutes_in(time: str) -> int:
    """SLURM's ways to write a time (`90`, `1:30:00`, `2-12`), in minutes, rounded up."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time.strip())
    if found is None:
        raise ValueError(
            f"{time!r} is not a time: write minutes (90), hours:minutes:seconds (1:30:00) or "
            "days-hours (2-12)"
        )
    days, *numbers = (int(part) if part else 0 for part in found.groups())
    if (
        found[1] is not None or found[4] is not None
    ):  # hours:minutes:seconds, of which the latter may be left out
        hours, minutes, seconds = numbers
    else:  # minutes:seconds
        hours, (minutes, seconds) = 0, numbers[:2]
    total = days * MINUTES_PER_DAY + hours * MINUTES_PER_HOUR + minutes + math.ceil(seconds / 60)
    if total < 1:
        raise ValueError(f"a time of {time!r} is too short: write minutes, e.g. 60")
    return total
