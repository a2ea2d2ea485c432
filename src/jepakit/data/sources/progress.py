"""Tells how long it takes until pictures can be used: a bar, or now and then a line."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 15.0
Tell = Callable[[float], None]  # the share that is done, 0 to 1


@contextmanager
def telling(what: str) -> Iterator[Tell]:
    """Show the progress of `what` on the error stream while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(what).tell
        return
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share: bar.update(task, completed=share)


class Lines:
    """One line at a time, none for what is done soon."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._begin = self._last = time.monotonic()

    def tell(self, share: float) -> None:
        """So much is done now, 0 to 1."""
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_LINES and share > 0:
            self._last = now
            left = (now - self._begin) * (1 - share) / share
            _log.info("%s: %.0f %%, about %.0f s left", self._what, 100 * share, left)
