"""How far long work came: a bar with the time left, or a line now and then; Ctrl-C ends it."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jepakit.core.durations import in_words
from jepakit.training.interruption import Interruption

_SECONDS_BETWEEN_LINES = 15.0


class CountedWork:
    """While entered, call it with (done, in all); raises `KeyboardInterrupt` if asked to stop."""

    def __init__(self, console: Console, name: str, unit: str = "pictures") -> None:
        self.console, self._name, self._unit = console, name, unit
        self.interruption = Interruption()
        self._bar: Progress | None = None
        self._first: tuple[float, int] | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> CountedWork:
        self.interruption.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        self.interruption.__exit__(kind, error, trace)

    def __call__(self, done: int, total: int) -> None:
        """So much is done now."""
        self._obey()
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
            if self.console.is_terminal:
                self._start_bar(done, total)
        if self._bar:
            self._bar.update(self._task, completed=done, total=total)
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = (now - self._first[0]) / max(done - self._first[1], 1) * (total - done)
            self.tell(f"{self._name}: {done} of {total} {self._unit}, about {in_words(left)} left")

    def obey(self, done: int, total: int) -> None:
        """Say nothing of what is done; only look whether to stop."""
        self._obey()

    def tell(self, line: str) -> None:
        """A line about what is done."""
        self._obey()
        self.console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)

    def _obey(self) -> None:
        if self.interruption.received is not None:
            raise KeyboardInterrupt

    def _start_bar(self, done: int, total: int) -> None:
        self._bar = Progress(
            TextColumn(self._name),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{self._unit}, left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, completed=done)
        self._bar.start()


class CountedSteps:
    """Counts the steps of work that is named when it begins; the last one tells how it ended."""

    def __init__(self, console: Console) -> None:
        self._console, self._work = console, CountedWork(console, "", "steps")

    def __call__(self, name: str) -> CountedWork:
        """The count of one piece of work, to be entered."""
        self._work = CountedWork(self._console, name, "steps")
        return self._work

    @property
    def exit_code(self) -> int:
        """Of a command that was asked to stop."""
        return self._work.interruption.exit_code
