"""The loop: the same for every objective, on one process or many."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_

from jepakit.core.checkpoint import CheckpointFolder
from jepakit.core.devices import Precision, autocast
from jepakit.core.distributed import is_lost_connection, who
from jepakit.core.errors import RunFailed
from jepakit.core.shards import total_norm
from jepakit.core.state import capture
from jepakit.core.tensors import Batch
from jepakit.data.loader import TrainingStream
from jepakit.data.resident import ResidentStream
from jepakit.data.sources.source import Source
from jepakit.objectives.objective import Objective, StepOutput
from jepakit.training.health import Health, NotFinite
from jepakit.training.in_step import FAILURES, in_step
from jepakit.training.interruption import Interruption
from jepakit.training.optimizer import Schedules
from jepakit.training.parallel import exchange_gradients
from jepakit.training.reporting import Observer, Pace, StepRecord
from jepakit.training.saving import Saver
from jepakit.training.watchdog import Watchdog

log = logging.getLogger(__name__)


@dataclass
class Trainer:
    """Repeats `train_step` over the stream, saves, reports, and stops when asked to.

    `facts` travel in every checkpoint. Observers look and never change anything.
    """

    objective: Objective
    module: nn.Module  # the objective, or its wrapper that exchanges gradients
    optimizer: torch.optim.Optimizer
    schedules: Schedules
    source: Source
    stream: TrainingStream | ResidentStream
    pace: Pace
    normalise: Callable[[Tensor], Tensor]
    device: torch.device
    precision: Precision
    checkpoints: CheckpointFolder
    saver: Saver
    is_first: bool
    step: int = 0  # optimizer steps done
    seed: int = 0
    clip_gradients: float | None = None
    hang_seconds: float = 600.0
    observers: Sequence[Observer] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.health = Health(self.optimizer, self.device)
        self.trained = [p for p in self.objective.parameters() if p.requires_grad]
        self.interruption = Interruption()
        self.watchdog = Watchdog(self.hang_seconds)
        self.recent: deque[tuple[int, list[Tensor]]] = deque(maxlen=2)  # steps, their pictures
        self.last_save = time.monotonic()

    def train_step(self, step: int, micro_batches: Sequence[Batch]) -> StepRecord:
        """One optimizer step: accumulate gradients, judge them, step, let the targets follow."""
        torch.manual_seed(self.seed + step)  # randomness inside networks: alike on all processes
        self.schedules.apply(self.optimizer, step)
        losses: list[Tensor] = []
        for place, loaded in enumerate(micro_batches):
            batch = self.on_device(loaded)
            with exchange_gradients(self.module, now=place == len(micro_batches) - 1):
                self.watchdog.at(step, "forward pass")
                output = self.forward(batch)
                self.watchdog.at(step, "backward pass and exchange of gradients")
                (output.loss / len(micro_batches)).backward()
            losses.append(output.loss.detach())
        norm = self.limit_gradients()
        loss = torch.stack(losses).mean()
        self.health.judge(step, loss, norm, self.interruption.was_asked, self.save_is_late())
        self.watchdog.at(step, "optimizer step")
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.objective.update_targets(self.schedules.progress(step))
        return StepRecord(step + 1, loss, norm, batch, output)

    def forward(self, batch: Batch) -> StepOutput:
        """The objective's output in the run's precision."""
        with autocast(self.device, self.precision):
            return self.module(batch)

    def on_device(self, batch: Batch) -> Batch:
        """The batch on the device, its pictures normalised there."""
        moved = batch.to(self.device)
        return Batch(self.normalise(moved.views), moved.masks, moved.labels, moved.indices)

    def limit_gradients(self) -> Tensor:
        """The norm of all gradients; they are scaled down to the limit if there is one."""
        gradients = [p.grad for p in self.trained if p.grad is not None]
        norm = total_norm(gradients)
        if self.clip_gradients is not None:
            clip_grads_with_norm_(self.trained, self.clip_gradients, norm)
        return norm

    def run(self) -> bool:
        """Train to the end. False if a signal stopped it; the state is saved in both cases."""
        with self.interruption, self.watchdog.watching(self.step):
            try:
                for observer in self.observers:
                    observer.start(self.step)
                return self._repeat()
            except RuntimeError as error:
                told = self.explain(error)
                if told is None:
                    raise
                raise RunFailed(told) from error
            finally:
                self.watchdog.at(self.step - 1, "saving")
                self.close()

    def close(self) -> None:
        """End the loader's workers and close what the observers hold open; twice does no harm."""
        with ExitStack() as stack:
            stack.callback(self.stream.close)
            stack.callback(self.saver.close)
            for observer in self.observers:
                stack.callback(observer.close)

    def _repeat(self) -> bool:
        for micro_batches in self._batches():
            record = self.train_step(self.step, micro_batches)
            self.watchdog.at(self.step, "reporting")
            self.step += 1
            for observer in self.observers:
                observer.step_done(record)
            if self.health.stop_agreed and self.step < self.schedules.num_steps:
                self.save(at_any_price=True)
                return False
            if self.save_is_due():
                self.save()
            self.watchdog.at(self.step, "loading pictures")
        self.save(at_any_price=True)
        return True

    def _batches(self) -> Iterator[Sequence[Batch]]:
        """The stream, timed. If it fails on any process, what was learned so far is saved first."""

        def waiting() -> None:
            self.watchdog.at(self.step, "waiting for the pictures of other processes")

        try:
            for micro_batches in in_step(self.pace.timed(self.stream), self.stream.broken, waiting):
                self.recent.append((self.step, [batch.indices for batch in micro_batches]))
                yield micro_batches
        except FAILURES as error:
            if not is_lost_connection(error):
                self.save()
            raise

    def save_is_due(self) -> bool:
        """Whether the settings ask for a checkpoint after this step."""
        s = self.checkpoints.settings
        by_steps = s.every_steps is not None and self.step % s.every_steps == 0
        return self.health.save_agreed or by_steps or self.stays_for_good()

    def save_is_late(self) -> bool:
        """Whether the time for a checkpoint has come, by the first process's clock."""
        minutes = self.checkpoints.settings.every_minutes
        late = minutes is not None and time.monotonic() - self.last_save >= 60 * minutes
        return late and self.is_first

    def stays_for_good(self) -> bool:
        """Whether this step ends an epoch whose checkpoint is kept for good."""
        epochs = self.checkpoints.settings.keep_every_epochs
        return epochs is not None and self.step % (epochs * self.stream.steps_per_epoch) == 0

    def save(self, at_any_price: bool = False) -> None:
        """Write a checkpoint of the state after the last step; all processes call it together.

        If it cannot be written the run goes on until the next one is due; `RunFailed` if it is
        needed `at_any_price`, because the run ends here.
        """
        self.watchdog.at(self.step - 1, "saving")
        self.health.settle()
        self.last_save, self.health.save_agreed = time.monotonic(), False
        state = capture(self.objective, self.optimizer, step=self.step, **self.facts)
        for failure in self.saver.save(state, for_good=self.stays_for_good(), wait=at_any_price):
            told = (
                f"step {failure.step} could not be saved ({failure}); the checkpoints before it "
                f"in {self.checkpoints.path} are whole"
            )
            if at_any_price and failure.step == self.step:
                raise RunFailed(
                    f"{told}. Make room, then the same command continues from the newest one"
                ) from failure
            log.error("%s. The run goes on and tries again at the next checkpoint: make room", told)

    def explain(self, error: RuntimeError) -> str | None:
        """What happened and what to do, if it is not a mistake in this program."""
        again = "then the same command continues from the newest checkpoint"
        if isinstance(error, NotFinite):
            return self.explain_not_finite(error)
        if isinstance(error, torch.OutOfMemoryError):
            count = self.facts.get("device_batch", 2)
            fewer = max(n for n in range(1, max(1, count // 2) + 1) if count % n == 0)
            advice = f"set batch.device={fewer}, {again}"
            return f"{self.device} has not enough memory at step {self.step}: {advice}"
        if is_lost_connection(error):
            reason = str(error).splitlines()[0]
            return (
                f"{who()} lost another process at step {self.step} ({reason}): that one says why "
                f"it ended, {again}"
            )
        if "DataLoader worker" in str(error):
            return (
                f"a process that loads pictures ended at step {self.step} ({error}): if memory is "
                f"short set a lower data.num_workers, {again}"
            )
        return None

    def explain_not_finite(self, error: NotFinite) -> str:
        """The step, its pictures, and what to try."""
        batches = dict(self.recent).get(error.step, [])
        pictures = [index for indices in batches for index in indices.tolist()]
        shown = ", ".join(self.source.name(index) for index in pictures[:3])
        return (
            f"{error}. The weights were not touched; the last checkpoint in "
            f"{self.checkpoints.path} is good. The batch held {len(pictures)} pictures, among them "
            f"{shown}. In another folder (folder=NEW) try a lower optimization.lr, "
            "optimization.clip_gradients=1, or precision=fp32"
        )
