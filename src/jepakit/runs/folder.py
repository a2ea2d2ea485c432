"""The run folder: what lies where, and who may write into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jepakit.core.folder_lock import folder_held

_RESTARTS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")
_SECONDS_TO_END = 120.0


class RunFolder:
    """Names of everything that a run leaves behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.log = path / "log.txt"
        self.metrics = path / "metrics.csv"
        self.checkpoints = path / "checkpoints"
        self.broken_pictures = path / "broken_pictures.csv"
        self.statistics = path / "normalization.json"
        self.scores = path / "scores.json"
        self.page = path / "report.html"
        self.drawings = path / "visualize"
        self.evaluation = path / "evaluation"  # features, judgements: may be deleted
        self.evaluations = path / "evaluations"  # a folder like this one for other pictures
        self.evaluation_page = path / "evaluation.html"
        self.jobs = path / "jobs"  # logs of a cluster's jobs
        self.holder = path / ".holder"  # the process that writes here

    def holds_checkpoints(self) -> bool:
        """Whether something was learned in this folder: it has a checkpoint, readable or not."""
        return any(not path.name.startswith(".") for path in self.checkpoints.glob("*step-*"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for one run; a second one is refused. A killed run lets go of it.

        A job that was started again waits for its earlier start, which may still be ending on a
        machine that the cluster no longer sees.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        started_again = any(os.environ.get(name, "0") != "0" for name in _RESTARTS)
        refusal = f"another run is writing into {self.path}: wait for it, or choose folder=NEW"
        with folder_held(self.path, refusal, _SECONDS_TO_END if started_again else 0.0):
            yield
