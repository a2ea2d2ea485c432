"""`jepa logs`: what a run's process says, from its last lines on until the run ends."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from jepakit.launch.slurm_queue import JobState, look_up
from jepakit.runs.folder import RunFolder
from jepakit.runs.jobs import notes_in, runs_in
from jepakit.runs.run_state import process_of

SECONDS_BETWEEN_LOOKS = 0.5
LOOKS_PER_QUESTION = 8  # SLURM's controller has others to serve


def logs(folder: Path, rank: int, lines: int, follow: bool) -> int:
    """Print the last lines of the newest job, or of a run on this machine; then what is added."""
    runs = runs_in(folder)
    notes = notes_in(folder)
    if notes:
        note = notes[-1]
        path = note.log_of(rank)
        goes_on = _goes_on(note.number)
    else:
        if len(runs) > 1:
            raise ValueError(f"{folder} holds {len(runs)} runs: name one, e.g. {runs[0]}")
        if rank:
            raise ValueError("on one machine the run has one log: leave --rank out")
        run = RunFolder(runs[0])
        path, goes_on = run.log, lambda: process_of(run) is not None
    if not path.exists() and not (follow and goes_on()):
        raise ValueError(f"nothing was said yet: there is no {path}")
    print(f"==> {path} <==", file=sys.stderr)
    return _show(path, lines, goes_on if follow else lambda: False)


def _show(path: Path, lines: int, goes_on: Callable[[], bool]) -> int:
    while not path.exists() and goes_on():
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if not path.exists():
        return 0
    with path.open(encoding="utf-8", errors="replace") as file:
        sys.stdout.writelines(deque(file, maxlen=lines))
        more = True
        while more:
            sys.stdout.flush()
            more = goes_on()  # asked before reading: what comes last is read, too
            sys.stdout.write(file.read())
            if more:
                time.sleep(SECONDS_BETWEEN_LOOKS)
    sys.stdout.flush()
    return 0


def _goes_on(number: str) -> Callable[[], bool]:
    """Whether a job may still say something; SLURM is asked now and then only."""
    looks = 0
    job: JobState | None = None

    def answer() -> bool:
        nonlocal looks, job
        if looks % LOOKS_PER_QUESTION == 0:
            job = look_up(number)
        looks += 1
        return job is not None and not job.is_over

    return answer
