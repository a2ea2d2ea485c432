"""The run folder: one run at a time, and settings that do not mix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jepakit.commands.pretrain import settle
from jepakit.runs.config import RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.yaml_file import apply_overrides, check, read_yaml


def in_another_process(work: Any, *arguments: Any) -> int:
    process = os.fork()
    if process == 0:
        try:
            work(*arguments)
        finally:
            os._exit(9)  # and not by the way of the test that this is a copy of
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def try_to_hold(path: Path) -> None:
    try:
        with RunFolder(path).held():
            os._exit(0)
    except ValueError as error:
        os._exit(7 if "another run is writing into" in str(error) else 8)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_second_run_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "new" / "run")
    with folder.held():
        assert in_another_process(try_to_hold, folder.path) == 7
    assert in_another_process(try_to_hold, folder.path) == 0
    with folder.held():
        assert in_another_process(try_to_hold, folder.path) == 7


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_that_outlives_a_killed_run_does_not_hold_its_folder(tmp_path: Path) -> None:
    def hold_and_leave_a_child() -> None:
        with RunFolder(tmp_path).held():
            if os.fork() == 0:
                os.read(reading, 1)  # a loader process that has not noticed yet
            os._exit(0)

    reading, writing = os.pipe()
    try:
        assert in_another_process(hold_and_leave_a_child) == 0
        assert in_another_process(try_to_hold, tmp_path) == 0
    finally:
        os.write(writing, b".")


def config(folder: Path, *words: str) -> RunConfig:
    return check(RunConfig, apply_overrides({"folder": str(folder)}, words))


def test_the_resolved_settings_are_in_the_run_folder(tmp_path: Path) -> None:
    settle(config(tmp_path, "seed=3"))
    content = read_yaml(RunFolder(tmp_path).config)
    assert content["seed"] == 3
    assert content["encoder"]["patch"] == 16
    assert check(RunConfig, content) == config(tmp_path, "seed=3")


def test_other_settings_are_refused_once_something_was_learned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settle(config(tmp_path, "seed=3"))
    RunFolder(tmp_path).statistics.write_text("measured")
    RunFolder(tmp_path).broken_pictures.write_text("name,reason\n")
    settle(config(tmp_path, "seed=4"))  # a run that never got as far as a checkpoint
    assert "begins anew" in caplog.text
    assert not RunFolder(tmp_path).statistics.exists()
    assert not RunFolder(tmp_path).broken_pictures.exists()
    (RunFolder(tmp_path).checkpoints / "step-00000001").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"other settings \(seed: 4 -> 5\).*folder=NEW"):
        settle(config(tmp_path, "seed=5"))
    assert read_yaml(RunFolder(tmp_path).config)["seed"] == 4


def test_settings_that_are_free_to_change_are_told_and_taken_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (RunFolder(tmp_path).checkpoints / "step-00000001").mkdir(parents=True)
    settle(config(tmp_path))
    with caplog.at_level("INFO"):
        settle(config(tmp_path, "logging.every=7", "data.test_size=48"))
    assert caplog.messages == [
        "other settings than before: data.test_size: null -> [48, 48]; logging.every: 10 -> 7"
    ]
    assert read_yaml(RunFolder(tmp_path).config)["logging"]["every"] == 7


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    RunFolder(tmp_path).config.write_text("sede: 3\n")
    with pytest.raises(ValueError, match=r"config\.yaml, written when the run began.*'seed'"):
        settle(config(tmp_path))


@pytest.mark.parametrize(
    ("name", "holds"),
    [("step-00000003", True), ("damaged-step-00000003", True), (".step-00000003.1.part", False)],
)
def test_what_counts_as_a_checkpoint(tmp_path: Path, name: str, holds: bool) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.holds_checkpoints()
    (folder.checkpoints / name).mkdir(parents=True)
    assert folder.holds_checkpoints() == holds


def test_a_job_that_was_started_again_waits_for_its_earlier_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    @contextmanager
    def noted(path: Path, refusal: str, patience: float) -> Iterator[None]:
        asked.append(patience)
        yield

    monkeypatch.setattr("jepakit.runs.folder.folder_held", noted)
    for count in ("0", "1"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
        with RunFolder(tmp_path).held():
            pass
    assert asked[0] == 0 < asked[1]
