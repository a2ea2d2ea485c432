"""What is told about a running training: numbers to files, a line or a bar to the terminal."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from torch import Tensor

from jepakit.core.devices import Precision
from jepakit.core.distributed import mean_over_processes
from jepakit.core.tensors import Batch
from jepakit.data.loader import TrainingStream
from jepakit.data.resident import ResidentStream
from jepakit.evaluation.features import evaluating
from jepakit.objectives.objective import Objective, StepOutput
from jepakit.training.metrics_log import MetricsLog
from jepakit.training.monitors.monitor import Monitor, Snapshot
from jepakit.training.optimizer import Schedules
from jepakit.training.progress import ProgressDisplay

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepRecord:
    """What one optimizer step left behind, on the device."""

    step: int  # optimizer steps done, this one included
    loss: Tensor  # mean over this process's micro-batches
    gradient_norm: Tensor
    batch: Batch  # the last micro-batch, normalised
    output: StepOutput  # of that micro-batch


class Observer(ABC):
    """Looks at every step; must not wait for the device except at steps that it logs."""

    @abstractmethod
    def start(self, step: int) -> None:
        """Called once, with the number of steps done before."""

    @abstractmethod
    def step_done(self, record: StepRecord) -> None:
        """Called after every optimizer step."""

    @abstractmethod
    def close(self) -> None:
        """Called at the end, whatever ended the run; a second call does nothing."""


class Pace:
    """Pictures per second, and the share of time spent waiting for them, since last asked."""

    def __init__(self, batch_size: int, step: int) -> None:
        self.batch_size = batch_size
        self.begin, self.step = time.perf_counter(), step
        self.waited = 0.0

    def timed(self, stream: TrainingStream | ResidentStream) -> Iterator[tuple[Batch, ...]]:
        """The stream; the time that it takes to deliver counts as waiting."""
        batches = iter(stream)
        while True:
            begin = time.perf_counter()
            micro_batches = next(batches, None)
            self.waited += time.perf_counter() - begin
            if micro_batches is None:
                return
            yield micro_batches

    def since_last(self, step: int) -> tuple[float, float]:
        """(images per second over all processes, share of time waiting)."""
        now = time.perf_counter()
        seconds = max(now - self.begin, 1e-9)
        rate = (step - self.step) * self.batch_size / seconds
        wait = min(self.waited / seconds, 1.0)
        self.begin, self.step, self.waited = now, step, 0.0
        return rate, wait


class Reporter(Observer):
    """Writes metrics every few steps, lets the monitors look, shows progress.

    Without a `metrics` log (on all processes but the first) it only takes part in what all compute:
    the sums, and monitors of networks that are spread over processes.
    """

    def __init__(
        self,
        *,
        objective: Objective,
        schedules: Schedules,
        steps_per_epoch: int,
        pace: Pace,
        monitors: Sequence[Monitor],
        metrics: MetricsLog | None,
        every: int,
        device: str,
        precision: Precision,
        console: Console,
        loads_itself: bool = False,
    ) -> None:
        self.objective, self.schedules, self.pace = objective, schedules, pace
        self.steps_per_epoch = steps_per_epoch
        self.monitors, self.metrics, self.every = monitors, metrics, every
        self.device, self.precision = device, precision
        self.display = ProgressDisplay(console, schedules.num_steps, loads_itself)
        self.rate, self.wait = float("nan"), 0.0
        self.is_new = True
        self.said: Counter[str] = Counter()

    def start(self, step: int) -> None:
        """Show where the run begins."""
        self.pace.since_last(step)
        if self.metrics is not None:
            self.display.start(step)

    def step_done(self, record: StepRecord) -> None:
        """Log if this step is one to log; otherwise nothing waits for the device."""
        if record.step % self.every == 0 or record.step == self.schedules.num_steps:
            numbers = self.step_numbers(record)  # all processes take part in the mean
            self.rate, self.wait = self.pace.since_last(record.step)
            if self.metrics is not None:
                self.write(record.step, numbers | {"throughput/images_per_second": self.rate})
                self.display.update(record.step, numbers["loss"], self.rate, self.wait)
        elif self.is_new:  # it waited for workers and compiled: its pace is that of no other
            self.pace.since_last(record.step)
        self.is_new = False
        if self.metrics is not None:
            self.display.tick(record.step)
        self.observe(record)

    def step_numbers(self, record: StepRecord) -> dict[str, float]:
        """Loss and its parts, averaged over processes, with learning rate and weight decay."""
        named = {"loss": record.loss, **record.output.logs}
        values = mean_over_processes(torch.stack([v.float() for v in named.values()])).tolist()
        step = record.step - 1
        return dict(zip(named, values, strict=True)) | {
            "schedule/lr": self.schedules.learning_rate(step),
            "schedule/weight_decay": self.schedules.weight_decay(step),
        }

    def observe(self, record: StepRecord) -> None:
        """Let the monitors that are due look, and at the end all; say in words what they find."""
        at_end = record.step == self.schedules.num_steps
        due = [m for m in self.monitors if at_end or record.step % m.every == 0]
        if not due:
            return
        begin = time.perf_counter()
        snapshot = Snapshot(
            step=record.step,
            progress=self.schedules.progress(record.step),
            objective=self.objective,
            batch=record.batch,
            output=record.output,
            gradient_norm=record.gradient_norm,
            images_per_second=self.rate,
            data_wait=self.wait,
            device=self.device,
            precision=self.precision,
        )
        with torch.no_grad(), evaluating(self.objective):
            for monitor in due:
                try:
                    numbers = monitor.observe(snapshot)
                except torch.linalg.LinAlgError as error:  # no reason to end a run
                    self.warn(record.step, f"{type(monitor).__name__} could not look: {error}")
                    continue
                self.write(record.step, numbers)
                for sentence in monitor.warnings(numbers) if numbers else []:
                    self.warn(record.step, sentence)
        self.pace.begin += time.perf_counter() - begin  # looking is not training

    def warn(self, step: int, sentence: str) -> None:
        """Say it, but the same kind of sentence at most five times a run."""
        if self.metrics is None:
            return
        kind = sentence.split(".")[0].translate(str.maketrans("", "", "0123456789"))
        self.said[kind] += 1
        if self.said[kind] <= 5:
            log.warning("step %d: %s", step, sentence)

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Write numbers to the run's log, on the process that has one."""
        if self.metrics is not None:
            self.metrics.write(step, step / self.steps_per_epoch, numbers)

    def close(self) -> None:
        """Close the files and the bar."""
        if self.metrics is not None:
            self.display.stop()
            self.metrics.close()
