"""A run that gets nowhere is ended, with a word on where it is; one that works is left alone."""

from __future__ import annotations

import subprocess
import sys

HANG = """
import sys, time
from jepakit.training.watchdog import Watchdog

watchdog = Watchdog(limit=3)
with watchdog.watching(step=3):
    for step in range(3, 11):  # slower than the limit as a whole, but each with a sign of life
        watchdog.at(step, "forward pass")
        time.sleep(0.5)
    print("alive", flush=True)
    def a_picture_that_never_comes():
        watchdog.at(11, "loading pictures")
        time.sleep(60)
    if sys.argv[1] == "hang":
        a_picture_that_never_comes()
print("done")
"""


def run(how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HANG, how]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_who_hangs_is_ended_and_shows_its_stack() -> None:
    ended = run("hang")
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout == "alive\n"
    assert "hangs at step 11, loading pictures" in ended.stderr
    assert "a_picture_that_never_comes" in ended.stderr


def test_who_works_is_left_alone() -> None:
    ended = run("work")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "alive\ndone\n"
