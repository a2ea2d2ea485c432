"""What a terminal, or a log file, is told about a training's progress."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from jepakit.training.progress import ProgressDisplay


@pytest.mark.parametrize(
    ("loads_itself", "doing"), [(False, "waiting for pictures"), (True, "loading pictures")]
)
@pytest.mark.parametrize("terminal", [False, True])
def test_it_tells_what_pictures_cost(loads_itself: bool, doing: str, terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal)
    display = ProgressDisplay(console, 10, loads_itself)
    display.start(0)
    display.update(5, 0.25, 80.0, 0.12)
    display.tick(10)
    display.update(10, 0.25, 80.0, 0.12)
    display.stop()
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue()
    assert "80 images/s" in told
    assert (f"{doing.split()[0]} 12%" if terminal else f"12% {doing}") in told


def test_the_first_step_tells_nothing_of_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 60.0, 70.0, 70.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    file = io.StringIO()
    display = ProgressDisplay(Console(file=file, width=200), 31)
    display.start(10)
    display.tick(11)  # a minute: workers start, kernels compile
    display.update(21, 0.25, 80.0, 0.12)
    assert "about 10 s left" in file.getvalue()
