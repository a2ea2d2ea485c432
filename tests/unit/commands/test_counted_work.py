"""How far work came is told in lines where there is no terminal, and a signal ends it."""

from __future__ import annotations

import os
import signal

import pytest
from rich.console import Console

from jepakit.commands import counted_work
from jepakit.commands.counted_work import CountedSteps
from jepakit.runs.seeing.looking import ticking


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(counted_work.time, "monotonic", lambda: now[0])
    return now


def test_lines_tell_the_time_that_is_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with CountedSteps(Console())("looks") as count:
        tick = ticking(count, 4)
        for seconds in (60, 120, 125):
            clock[0] = seconds
            tick()
    assert capsys.readouterr().out.splitlines() == [
        "looks: 1 of 4 steps, about 3 min 0 s left",
        "looks: 2 of 4 steps, about 2 min 0 s left",
    ]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_work_at_the_next_step(sent: signal.Signals, code: int) -> None:
    counting = CountedSteps(Console())
    with counting("looks") as count:
        tick = ticking(count, 4)
        os.kill(os.getpid(), sent)
        with pytest.raises(KeyboardInterrupt):
            tick()
    assert counting.exit_code == code
