"""What `jepa status`, `logs` and `stop` say of runs on this machine and of jobs elsewhere."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jepakit.cli import main
from jepakit.commands.status import state_in_words
from jepakit.launch.slurm_queue import JobState
from jepakit.runs.folder import RunFolder
from jepakit.runs.jobs import JobNote, notes_in, runs_in, write_note
from jepakit.runs.run_state import RunState, process_of, run_state

CONFIG = "optimization: {epochs: 6.7}\nbatch: {size: 16}\n"
RATE = "throughput/images_per_second"


def write_run(folder: Path, steps: int) -> Path:
    """A run of 40 steps in all, 6 an epoch, of which so many are done."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    rows = ["step,epoch,name,value"]
    for step in range(1, steps + 1):
        epoch = f"{step},{step / 6:.4f}"
        rows += [f"{epoch},loss,{1 / step:.4f}", f"{epoch},{RATE},{100 + 0 * step}"]
    (folder / "metrics.csv").write_text("\n".join([*rows, "41,6.8,lo"]))
    return folder


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*words: object) -> str:
        with pytest.raises(SystemExit):
            main([str(word) for word in words])
        written = capsys.readouterr()
        return written.out + written.err

    return run


def test_progress_is_read_from_the_runs_files(tmp_path: Path) -> None:
    state = run_state(write_run(tmp_path / "run", 10))
    assert (state.step, state.num_steps, state.epochs) == (10, 40, 6.7)
    assert (state.loss, state.images_per_second) == (0.1, 100)
    assert state.seconds_left == 30 * 16 / 100
    assert not state.is_finished
    (tmp_path / "run" / "checkpoints" / "step-00000012").mkdir(parents=True)
    saved = run_state(tmp_path / "run")  # it stopped between two lines of the log
    assert (saved.step, saved.num_steps, saved.epoch) == (12, 40, pytest.approx(2, abs=1e-3))
    assert run_state(write_run(tmp_path / "other", 40)).is_finished
    assert run_state(tmp_path / "none") == RunState(tmp_path / "none")


def test_a_run_on_this_machine_is_found_by_its_process(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert process_of(folder) is None
    with folder.held():
        found = process_of(folder)
        assert found is not None
        assert found.pid == os.getpid()
    assert process_of(folder) is None
    now = {"host": socket.gethostname(), "pid": os.getpid()}
    created = psutil.Process().create_time()
    for record, is_ours in (
        (now | {"created": created}, True),
        (now | {"created": created - 100}, False),  # then the number was another process's
        (now | {"created": created, "host": "elsewhere"}, False),
        (now, False),
    ):
        folder.holder.write_text(json.dumps(record))
        assert (process_of(folder) is not None) == is_ours


def job(state: str) -> JobState:
    return JobState("7", state)


@pytest.mark.parametrize(
    ("step", "jobs", "words"),
    [
        (0, [], "not begun"),
        (9, [], "stopped"),
        (9, [None], "stopped"),
        (9, [job("PENDING")], "waiting"),
        (9, [job("FAILED"), job("RUNNING")], "running"),
        (9, [job("COMPLETED")], "stopped"),
        (9, [job("TIMEOUT")], "ended (TIMEOUT)"),
        (40, [job("FAILED")], "finished"),
    ],
)
def test_a_runs_state_in_words(step: int, jobs: list[JobState | None], words: str) -> None:
    assert state_in_words(RunState(Path("run"), step, num_steps=40), jobs) == words


def test_jobs_are_found_from_the_run_and_from_the_logs(tmp_path: Path) -> None:
    run, logs = write_run(tmp_path / "run", 4), tmp_path / "logs"
    inside = JobNote("7", run, run / "jobs" / "job_7", "2024-01-01T10:00:00", 2)
    outside = JobNote("8", run, logs / "job_8", "2024-01-02T10:00:00", 2)
    for note in (outside, inside):
        write_note(note)
    assert notes_in(run) == [inside, outside]
    assert notes_in(logs) == [outside]
    assert runs_in(logs) == runs_in(run) == runs_in(tmp_path) == [run]
    with pytest.raises(ValueError, match="neither a run folder nor one of logs"):
        runs_in(tmp_path / "nothing")


def test_without_slurm_status_shows_what_the_files_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[..., str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = write_run(tmp_path / "run", 10)
    told = said("status", run)
    assert "stopped: step 10 of 40, epoch 1.67 of 6.7, loss 0.1000, 100 images/s" in told
    write_note(JobNote("7", run, run / "jobs" / "job_7", "2024-01-01", 1))
    told = said("status", run)
    assert "job 7: unknown to SLURM; logs in" in told
    assert "SLURM is not on this machine" in told
    assert "nothing runs here" in said("stop", run)
    assert "nothing was said yet" in said("logs", run)
    assert "neither a run folder" in said("status", tmp_path / "none")


def test_without_a_folder_status_shows_the_usual_one(
    tmp_path: Path, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "runs is neither a run folder nor one of logs" in said("status")
    write_run(tmp_path / "runs" / "mine", 10)
    assert "runs/mine\n  stopped: step 10 of 40" in said("status")


def test_the_log_of_a_run_on_this_machine(tmp_path: Path, said: Callable[..., str]) -> None:
    run = write_run(tmp_path / "run", 10)
    (run / "log.txt").write_text("one\ntwo\nthree\n")
    told = said("logs", run, "--lines", 2)
    assert "two\nthree\n" in told
    assert "one\n" not in told
    assert "on one machine the run has one log" in said("logs", run, "--rank", 1)
