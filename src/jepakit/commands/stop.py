"""`jepa stop`: what runs in a folder saves and ends; the command that started it continues it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from jepakit.core.errors import RunFailed
from jepakit.launch.slurm_queue import cancel, look_up, send_signal
from jepakit.runs.jobs import notes_in, runs_in
from jepakit.runs.run_state import run_state

SECONDS_TO_END = 300.0  # a step of a huge model, its checkpoint, and SLURM's own time
SECONDS_BETWEEN_LOOKS = 1.0


def stop(folder: Path, wait: bool) -> int:
    """Ask all runs in a folder to save and end, and wait until they did."""
    asked = False
    for run in runs_in(folder):
        for end in [*_jobs_asked(run), *_process_asked(run)]:
            asked = True
            if wait:
                _until(end, run)
        if asked:
            state = run_state(run)
            told = f" at step {state.step} of {state.num_steps}" if state.num_steps else ""
            print(f"{run}: {'stopped' if wait else 'asked to save and stop'}{told}")
    if not asked:
        print(f"{folder}: nothing runs here", file=sys.stderr)
    return 0


def _jobs_asked(run: Path) -> list[Callable[[], bool]]:
    """Ask the run's jobs; returns functions that say whether each is over."""
    ends: list[Callable[[], bool]] = []
    for note in notes_in(run):
        job = look_up(note.number)
        if job is None or job.is_over:
            continue
        if job.state == "RUNNING":
            send_signal(note.number, "TERM")  # USR2 would have it queued again
        else:
            cancel(note.number)
        ends.append(_is_over(note.number))
    return ends


def _is_over(number: str) -> Callable[[], bool]:
    def answer() -> bool:
        job = look_up(number)
        return job is None or job.is_over

    return answer


def _process_asked(run: Path) -> list[Callable[[], bool]]:
    """Ask the process on this machine that writes the run, if there is one."""
    process = run_state(run).process
    if process is None:
        return []
    try:
        launcher = _launcher(process)
        launcher.terminate()
    except psutil.NoSuchProcess:
        return []
    return [lambda: not launcher.is_running() or launcher.status() == psutil.STATUS_ZOMBIE]


def _launcher(process: psutil.Process) -> psutil.Process:
    """Who started the ranks of a run, if there are several, and passes signals on to all."""
    if int(process.environ().get("WORLD_SIZE", 1)) == 1:
        return process
    parent = process.parent()
    return process if parent is None else parent


def _until(happened: Callable[[], bool], run: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_END
    while not happened():
        if time.monotonic() > deadline:
            raise RunFailed(
                f"{run} was asked to stop {SECONDS_TO_END:g} s ago and still runs: look at "
                f"`jepa logs {run}`; `scancel` or `kill -9` end it without saving"
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)
