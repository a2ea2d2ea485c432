"""How far a run has come, read from its folder only, without disturbing it."""

from __future__ import annotations

import csv
import json
import socket
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from jepakit.core.checkpoint import CheckpointFolder, CheckpointSettings
from jepakit.runs.folder import RunFolder
from jepakit.runs.yaml_file import read_yaml

BYTES_READ = 1 << 17  # of the end of metrics.csv: hundreds of log lines
NUM_RATES = 20  # images/s are the median of so many
SAME_MOMENT = 0.5  # seconds
RATE = "throughput/images_per_second"


@dataclass(frozen=True)
class RunState:
    """A run's progress; None for what is not known yet."""

    folder: Path
    step: int = 0
    num_steps: int | None = None
    epoch: float = 0.0
    epochs: float | None = None
    loss: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    process: psutil.Process | None = None  # on this machine, if it runs here

    @property
    def is_finished(self) -> bool:
        """Whether all steps are done."""
        return self.num_steps is not None and self.step >= self.num_steps


def run_state(path: Path) -> RunState:
    """What a run folder says of its run."""
    folder = RunFolder(path)
    config = read_yaml(folder.config) if folder.config.exists() else {}
    asked = config.get("optimization", {}).get("epochs")
    epochs = None if asked is None else float(asked)
    process = process_of(folder)
    rows = list(_last_rows(folder.metrics)) if folder.metrics.exists() else []
    losses = [(step, epoch, value) for step, epoch, name, value in rows if name == "loss"]
    if not losses:
        return RunState(path, epochs=epochs, process=process)
    step, epoch, loss = losses[-1]
    saved = CheckpointFolder(folder.checkpoints, CheckpointSettings()).steps()
    if step and saved and saved[-1] > step:  # it stopped between two lines of the log
        step, epoch = saved[-1], epoch * saved[-1] / step
    rates = [value for _, _, name, value in rows if name == RATE][-NUM_RATES:]
    rate = statistics.median(rates) if rates else None
    num_steps = left = None
    if epochs is not None and epoch > 0:
        num_steps = max(1, round(epochs * max(1, round(step / epoch))))
        if rate:
            left = max(0, num_steps - step) * config["batch"]["size"] / rate
    return RunState(path, step, num_steps, epoch, epochs, loss, rate, left, process)


def process_of(folder: RunFolder) -> psutil.Process | None:
    """The process on this machine that holds the folder; None if there is none."""
    try:
        record = json.loads(folder.holder.read_text(encoding="utf-8", errors="replace"))
        if record["host"] != socket.gethostname():
            return None
        process = psutil.Process(record["pid"])
        # A number that was given anew belongs to a process that was created later.
        is_same = abs(process.create_time() - record["created"]) < SAME_MOMENT
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
        return None


def _last_rows(metrics: Path) -> Iterator[tuple[int, float, str, float]]:
    """The last rows of a file that may just be written to."""
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - BYTES_READ))
        lines = file.read().decode(errors="replace").splitlines(keepends=True)
    for row in csv.reader(line for line in lines if line.endswith("\n")):
        if len(row) == 4 and row[0].isdigit():
            yield int(row[0]), float(row[1]), row[2], float(row[3])
