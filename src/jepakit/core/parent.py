"""A process that ends with the one that started it, even if that one was killed."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

LAUNCHER = "JEPAKIT_LAUNCHER"  # number of the process that started this one
_SECONDS_BETWEEN_LOOKS = 0.5
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def be_killed_with_parent() -> None:
    """From now on, the end of the parent is the end of this process (Linux).

    For parents that are killed only when the time to save is over.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_launcher() -> None:
    """From now on, SIGTERM reaches this process when its launcher is gone: it saves and ends."""
    number = os.environ.get(LAUNCHER)
    if number is not None:
        threading.Thread(target=_watch, args=(int(number),), name="launcher", daemon=True).start()


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), signal.SIGTERM)
