"""A training's progress on the terminal: a bar, or plain lines where there is no terminal."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jepakit.core.distributed import world_size
from jepakit.core.durations import in_words


class ProgressDisplay:
    """A bar on a terminal; elsewhere a plain line now and then: loss, images/s, waiting, time."""

    seconds_between_lines = 15.0

    def __init__(self, console: Console, num_steps: int, loads_itself: bool = False) -> None:
        self.console, self.num_steps = console, num_steps
        self.doing = "loading" if loads_itself else "waiting for"
        self.bar = (
            Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.0f} images/s"),
                TextColumn(f"{self.doing.split()[0]} {{task.fields[wait]:.0%}}  left"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=console,
            )
            if console.is_terminal
            else None
        )

    def start(self, step: int) -> None:
        """Begin at the number of steps done before."""
        self.begin, self.first, self.last_line = time.monotonic(), step, 0.0
        self.is_new = True
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task(
                "", total=self.num_steps, completed=step, loss=float("nan"), rate=0.0, wait=0.0
            )

    def tick(self, step: int) -> None:
        """A step was done. The first waits for workers and compiles: it tells nothing of others."""
        if self.is_new:
            self.begin, self.first, self.is_new = time.monotonic(), step, False
        if self.bar:
            self.bar.update(self.task, completed=step)

    def update(self, step: int, loss: float, rate: float, wait: float) -> None:
        """New numbers; `wait` is the share of the time that pictures took."""
        if self.bar:
            self.bar.update(self.task, completed=step, loss=loss, rate=rate, wait=wait)
            return
        now = time.monotonic()
        if now - self.last_line >= self.seconds_between_lines or step == self.num_steps:
            self.last_line = now
            left = (now - self.begin) / max(step - self.first, 1) * (self.num_steps - step)
            self.console.print(
                f"step {step}/{self.num_steps}  loss {loss:.4f}  {rate:.0f} images/s"
                f"{_processes()}  {wait:.0%} {self.doing} pictures  about {in_words(left)} left",
                highlight=False,
                soft_wrap=True,
            )

    def stop(self) -> None:
        """Leave the terminal tidy."""
        if self.bar:
            self.bar.stop()


def _processes() -> str:
    return f" on {world_size()} processes" if world_size() > 1 else ""
