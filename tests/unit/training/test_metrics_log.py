"""The metrics of a run: no row twice, none missing, whatever interrupted it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from jepakit.training.metrics_log import LoggingSettings, MetricsLog

PLAIN = LoggingSettings(tensorboard=False)


def write(folder: Path, begin: int, end: int) -> None:
    log = MetricsLog(folder, PLAIN, begin)
    for step in range(begin + 1, end + 1):
        log.write(step, step / 4, {"loss": 1 / step, "lr": 0.1})
    log.close()


def test_a_continued_log_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for folder in (whole, resumed):
        folder.mkdir()
    write(whole, 0, 9)
    write(resumed, 0, 7)
    with (resumed / "metrics.csv").open("a") as file:
        file.write("8,2.0000,lo")  # as SIGKILL leaves it
    write(resumed, 5, 9)  # the newest checkpoint is of step 5
    text = (whole / "metrics.csv").read_text()
    assert (resumed / "metrics.csv").read_text() == text
    assert text.splitlines()[:3] == ["step,epoch,name,value", "1,0.2500,loss,1", "1,0.2500,lr,0.1"]


def test_numbers_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, PLAIN, 0)
    log.write(1, 0.5, {"loss": math.nan})
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1] == "1,0.5000,loss,nan"
    log.close()


class FullDisk:
    """A file that takes a few bytes and then none."""

    def __init__(self, file: object, how: str) -> None:
        self.file, self.how = file, how

    def write(self, rows: bytes) -> int:
        written = self.file.write(rows[:5])  # type: ignore[attr-defined]
        if self.how == "raises":
            raise OSError(28, "No space left on device")
        return int(written)

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


@pytest.mark.parametrize("how", ["raises", "short"])
def test_on_a_full_disk_rows_wait(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = MetricsLog(tmp_path, PLAIN, 0)
    log.write(1, 0.5, {"loss": 1.0})
    file, log.file = log.file, FullDisk(log.file, how)  # type: ignore[assignment]
    for step in (2, 3):
        log.write(step, 0.5, {"loss": 1.0})
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 2
    assert caplog.text.count("waits for room on the disk") == 1
    log.file = file
    log.write(4, 0.5, {"loss": 1.0})
    log.close()
    steps = [line[0] for line in (tmp_path / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == ["1", "2", "3", "4"]


class BrokenBoard:
    def add_scalar(self, name: str, value: float, step: int) -> None:
        raise OSError(28, "No space left on device")


def test_tensorboard_that_cannot_write_does_not_end_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = MetricsLog(tmp_path, PLAIN, 0)
    log.board = BrokenBoard()
    log.write(1, 0.5, {"loss": 1.0})
    log.write(2, 0.5, {"loss": 1.0})
    log.close()
    assert caplog.text.count("TensorBoard's files end at step 1") == 1
    assert (tmp_path / "metrics.csv").read_text().count("loss") == 2
