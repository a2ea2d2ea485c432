"""`jepa status`: how far runs have come, when they will end, and what their jobs do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jepakit.core.durations import in_words
from jepakit.launch.slurm_queue import JobState, is_here, look_up
from jepakit.runs.jobs import notes_in, runs_in
from jepakit.runs.run_state import RunState, run_state


def status(folder: Path) -> int:
    """Print, for each run, a line on its progress and a line per job."""
    has_jobs = False
    for path in runs_in(folder):
        notes = notes_in(path)
        jobs = [look_up(note.number) for note in notes]
        run = run_state(path)
        print(run.folder)
        print(f"  {state_in_words(run, jobs)}: {_progress(run)}")
        for note, job in zip(notes, jobs, strict=True):
            print(f"  job {note.number}: {_doing(job)}; logs in {note.logs}")
            if job is not None and job.waits_in_vain:
                print(f"    it cannot start: {job.waits_in_vain}")
        has_jobs = has_jobs or bool(notes)
    if has_jobs and not is_here():
        print("SLURM is not on this machine: ask on a node of the cluster how the jobs are")
    return 0


def state_in_words(run: RunState, jobs: Sequence[JobState | None]) -> str:
    """What a run does now, in a word or two."""
    known = [job for job in jobs if job is not None]
    if run.process is not None:
        return f"running (process {run.process.pid})"
    if run.is_finished:
        return "finished"
    if known and not known[-1].is_over:
        return "waiting" if known[-1].state == "PENDING" else known[-1].state.lower()
    if known and known[-1].state not in ("COMPLETED", "CANCELLED"):
        return f"ended ({known[-1].state})"
    return "stopped" if run.step else "not begun"


def _progress(run: RunState) -> str:
    """`step 67 of 120, epoch 16.75 of 30, loss 0.1471, 100 images/s, about 8 s left`."""
    if run.loss is None:
        return "no step logged yet"
    told = [
        f"step {run.step}{_of(run.num_steps)}",
        f"epoch {run.epoch:.2f}{_of(run.epochs)}",
        f"loss {run.loss:.4f}",
    ]
    if run.images_per_second:
        told.append(f"{run.images_per_second:.0f} images/s")
    if run.seconds_left:
        told.append(f"about {in_words(run.seconds_left)} of training left")
    return ", ".join(told)


def _of(whole: int | float | None) -> str:
    return "" if whole is None else f" of {whole:g}"


def _doing(job: JobState | None) -> str:
    """`RUNNING for 00:00:25 of 01:00:00 on n[1-2], restarted 2 times`."""
    if job is None:
        return "unknown to SLURM"
    told = job.state
    if job.reason:
        told += f" ({job.reason})"
    if job.nodes:
        told += f" for {job.ran} of {job.limit} on {job.nodes}"
    return told + (f", restarted {job.restarts} times" if job.restarts else "")
