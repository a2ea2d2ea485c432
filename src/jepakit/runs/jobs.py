"""Which jobs of a cluster belong to a run: a note beside each job's logs, found from both sides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from jepakit.core.files import write_text
from jepakit.runs.folder import RunFolder

NOTE = "job.json"  # in the job's folder, `LOGS/job_<number>`
ELSEWHERE = "elsewhere.txt"  # in the run's folder of jobs: folders of logs that lie outside it


@dataclass(frozen=True)
class JobNote:
    """One submitted job."""

    number: str
    run: Path  # the run folder
    logs: Path  # the job's own folder
    submitted: str  # date and time
    num_processes: int

    def log_of(self, rank: int) -> Path:
        """Where a process's output goes; `ValueError` if there is no such process."""
        if not 0 <= rank < self.num_processes:
            raise ValueError(
                f"job {self.number} has {self.num_processes} processes: --rank "
                f"0 to {self.num_processes - 1}"
            )
        return self.logs / f"{self.number}_{rank}_log.out"


def write_note(note: JobNote) -> None:
    """Keep a note beside the job's logs, and the way to it in the run folder."""
    content = {name: str(value) for name, value in asdict(note).items()}
    write_text(note.logs / NOTE, json.dumps(content, indent=1) + "\n")
    jobs = RunFolder(note.run).jobs
    if note.logs.parent != jobs:
        jobs.mkdir(parents=True, exist_ok=True)
        with (jobs / ELSEWHERE).open("a", encoding="utf-8") as file:
            file.write(f"{note.logs}\n")


def notes_in(folder: Path) -> list[JobNote]:
    """The jobs of a run folder, or those that log into a folder; in the order of submission."""
    found = {note.number: note for path in _job_folders(folder) for note in _read(path / NOTE)}
    return sorted(found.values(), key=lambda note: (note.submitted, note.number))


def runs_in(folder: Path) -> list[Path]:
    """The run folders that a folder means: itself, those of its jobs, or those right below."""
    if RunFolder(folder).config.exists() or RunFolder(folder).jobs.exists():
        return [folder]
    runs = dict.fromkeys(note.run for note in notes_in(folder))
    if not runs and folder.is_dir():
        below = sorted(path for path in folder.iterdir() if path.is_dir())
        runs = dict.fromkeys(path for path in below if RunFolder(path).config.exists())
    if not runs:
        raise ValueError(
            f"{folder} is neither a run folder nor one of logs: name what `folder=` or --folder "
            "said when the run was started"
        )
    return list(runs)


def _job_folders(folder: Path) -> Iterator[Path]:
    jobs = RunFolder(folder).jobs
    yield from folder.glob("job_*")
    yield from jobs.glob("job_*")
    if (jobs / ELSEWHERE).exists():
        yield from map(Path, (jobs / ELSEWHERE).read_text(encoding="utf-8").splitlines())


def _read(path: Path) -> Iterator[JobNote]:
    """The note, if it is there (logs may have been deleted)."""
    if path.exists():
        c = json.loads(path.read_text(encoding="utf-8"))
        # The folder is where the note lies: it may have been moved.
        yield JobNote(
            c["number"], Path(c["run"]), path.parent, c["submitted"], int(c["num_processes"])
        )
