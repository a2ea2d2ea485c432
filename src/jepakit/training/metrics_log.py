"""Where a run's numbers go: `metrics.csv`, TensorBoard, and Weights & Biases if asked for."""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from jepakit.core import settings as core
from jepakit.core.files import written_whole

log = logging.getLogger(__name__)

HEADER = ["step", "epoch", "name", "value"]


class LoggingSettings(core.Settings):
    """How often numbers are written, and where beside `metrics.csv`."""

    every: int = Field(10, ge=1, description="steps between log lines")
    tensorboard: bool = Field(True, description="also write TensorBoard files")
    wandb: str | None = Field(None, description="name of a Weights & Biases project")


class MetricsLog:
    """Numbers by step in long format: one row per number. Continues an interrupted log.

    A full disk does not end a run: rows wait until there is room again.
    """

    def __init__(self, folder: Path, settings: LoggingSettings, step: int) -> None:
        self.path = folder / "metrics.csv"
        _forget_after(self.path, step)
        self.file = self.path.open("ab", buffering=0)
        self.waiting: list[str] = []
        self.is_blocked = False
        self.board = _tensorboard(folder, step) if settings.tensorboard else None
        self.wandb = _wandb(settings.wandb, folder) if settings.wandb else None

    def write(self, step: int, epoch: float, numbers: Mapping[str, float]) -> None:
        """Write numbers of one step; visible to other programs at once."""
        self.waiting += [f"{step},{epoch:.4f},{n},{v:.8g}\n" for n, v in numbers.items()]
        self._write_rows()
        self._draw(step, numbers)
        if self.wandb is not None:
            self.wandb.log(dict(numbers), step=step)

    def close(self) -> None:
        """Close all files."""
        if self.waiting:
            self._write_rows()
        self.file.close()
        if self.board is not None:
            self.board.close()
        if self.wandb is not None:
            self.wandb.finish()
        self.board = self.wandb = None

    def _write_rows(self) -> None:
        """Write the rows that wait: all of them, or none."""
        rows = "".join(self.waiting).encode()
        end = self.file.seek(0, os.SEEK_END)
        try:
            written = self.file.write(rows)
            if written != len(rows):
                raise OSError(f"only {written} of {len(rows)} bytes could be written")
            self.waiting, self.is_blocked = [], False
        except OSError as error:
            self.file.truncate(end)
            if not self.is_blocked:
                log.warning("%s waits for room on the disk: %s", self.path, error)
            self.is_blocked = True

    def _draw(self, step: int, numbers: Mapping[str, float]) -> None:
        if self.board is None:
            return
        try:
            for name, value in numbers.items():
                if math.isfinite(value):
                    self.board.add_scalar(name, value, step)
        except OSError as error:
            log.warning("TensorBoard's files end at step %d: %s", step, error)
            self.board = None


def _forget_after(path: Path, step: int) -> None:
    """Drop rows that a continued run will write again, and a last line that was cut."""
    rows: list[list[str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = [r for r in csv.reader(file) if len(r) == 4 and r[0].isdigit()]
    kept = [row for row in rows if int(row[0]) <= step]
    with written_whole(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *kept])


def _tensorboard(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)


def _wandb(project: str, folder: Path) -> Any:
    try:
        import wandb
    except ImportError:
        raise ValueError("logging.wandb needs the package: pip install wandb") from None
    return wandb.init(project=project, dir=str(folder), id=folder.name, resume="allow")
