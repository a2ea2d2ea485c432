"""The run folder: what lies where, and who may write into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jepakit.core.folder_lock import folder_held


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
        self.evaluation_page = path / "evaluation.html"
        self.jobs = path / "jobs"  # logs of a cluster's jobs
        self.holder = path / ".holder"  # the process that writes here

    def holds_checkpoints(self) -> bool:
        """Whether something was learned in this folder: it has a checkpoint, readable or not."""
        return any(not path.name.startswith(".") for path in self.checkpoints.glob("*step-*"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for one run; a second one is refused. A killed run lets go of it."""
        self.path.mkdir(parents=True, exist_ok=True)
        refusal = f"another run is writing into {self.path}: wait for it, or choose folder=NEW"
        with folder_held(self.path, refusal):
            yield
