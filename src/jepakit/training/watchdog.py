"""Notices a run that stands still, says which process hangs and where, and ends it."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from jepakit.core.distributed import rank, who, world_size

log = logging.getLogger(__name__)

EXIT_CODE = 3  # as of other failures that are nobody's mistake in typing
# What a step consists of, in its order. Who is furthest behind is the one that others wait for.
PHASES = (
    *("loading pictures", "waiting for the pictures of other processes", "forward pass"),
    *("backward pass and exchange of gradients", "optimizer step", "reporting", "saving"),
)
_SECONDS_FOR_AN_ANSWER = 5.0
_STANDARD_ERROR = 2


class Watchdog:
    """Ends this process when it gets nowhere for `limit` seconds; names who the others wait for.

    Every process tells the others, several times per limit, at which step it is and what it does.
    When they stand still, it is who is furthest behind, or has fallen silent, that hangs: its stack
    goes to standard error. What hangs so deep that no Python runs is ended by a timer of the
    interpreter, half a limit later.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.pause = min(10.0, limit / 5)
        self.place = (0, 0)  # step, number of the phase
        self.since = time.monotonic()
        self.leaving = False
        self.stop = threading.Event()
        self.store = dist.distributed_c10d._get_default_store() if world_size() > 1 else None

    @contextmanager
    def watching(self, step: int) -> Iterator[None]:
        """Within it the run is watched."""
        self.place, self.since = (step, 0), time.monotonic()
        threads = [
            threading.Thread(target=work, name="watchdog", daemon=True)
            for work in (self._watch, self._tell)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            threads[0].join()
            faulthandler.cancel_dump_traceback_later()

    def at(self, step: int, phase: str) -> None:
        """Tell where this process is, and that it lives."""
        self.place, self.since = (step, PHASES.index(phase)), time.monotonic()

    def _watch(self) -> None:
        alive = -1.0
        last_resort = 1.5 * self.limit + 2 * self.pause + 3 * _SECONDS_FOR_AN_ANSWER
        while True:
            if self.since != alive:
                alive = self.since
                faulthandler.dump_traceback_later(last_resort, exit=True, file=_STANDARD_ERROR)
            if self.stop.wait(self.pause):
                return
            if time.monotonic() - self.since > self.limit:
                self._end()

    def _tell(self) -> None:
        """Tell the others; this may block for ever when the first process hangs."""
        while self.store is not None and not self.stop.wait(self.pause / 2):
            self._publish()

    def _publish(self) -> None:
        assert self.store is not None
        number, (step, phase) = time.monotonic_ns(), self.place
        words = f"{step}|{phase}|{number}|{int(self.leaving)}|{who()}"
        self.store.set(f"watchdog/{rank()}", words)

    def _end(self) -> None:
        """Say what is known and leave: the main thread may never come back."""
        told, mine = self._culprits()
        log.error("no progress for %g s (processes.hang_seconds): %s", self.limit, told)
        if mine:
            main = threading.main_thread().ident
            frame = sys._current_frames().get(main) if main is not None else None
            stack = "".join(traceback.format_stack(frame))
            os.write(_STANDARD_ERROR, f"{who()} hangs {_words(self.place)}:\n{stack}".encode())
        if rank() == 0:
            time.sleep(2 * self.pause)  # it keeps what the others ask for
        os._exit(EXIT_CODE)

    def _culprits(self) -> tuple[str, bool]:
        """Who hangs, in words; and whether this process may be one of them."""
        if self.store is None:
            return f"this process hangs {_words(self.place)}", True
        self.leaving = True
        before = _answer(self._everybody)
        time.sleep(self.pause)
        now = _answer(self._everybody)
        if not before or not now:
            return "process 0 does not answer: it hangs, or its machine does", False
        places = {n: (int(w[0]), int(w[1])) for n, w in now.items()}
        silent = [n for n, w in now.items() if before.get(n) == w and w[3] == "0"]
        behind = [n for n, place in places.items() if place == min(places.values())]
        blamed = silent or behind
        if len(blamed) == len(now):
            words = f"all {len(now)} processes stand {_words(self.place)}: one of the devices, or "
            return f"{words}the network between them, hangs", True
        found = [f"{now[n][4]} hangs {_words(places[n])}" for n in blamed]
        return "; ".join(found), rank() in blamed

    def _everybody(self) -> dict[int, list[str]]:
        """What each process told last: step, phase, a number, whether it leaves, its name."""
        assert self.store is not None
        self._publish()
        keys = {number: f"watchdog/{number}" for number in range(world_size())}
        there = {n: key for n, key in keys.items() if self.store.check([key])}
        return {n: self.store.get(key).decode().split("|", 4) for n, key in there.items()}


def _words(place: tuple[int, int]) -> str:
    return f"at step {place[0]}, {PHASES[place[1]]}"


def _answer(ask: Callable[[], Any]) -> Any:
    """The answer, or None if there is none in time."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(_SECONDS_FOR_AN_ANSWER)
    return answers[0] if answers else None
