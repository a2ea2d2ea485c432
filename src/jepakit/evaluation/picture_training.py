"""The loop by which an evaluation trains on pictures; it can stop anywhere and goes on exactly."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from jepakit.core.checkpoint import CheckpointFolder, CheckpointSettings
from jepakit.core.randomness import generator
from jepakit.core.state import capture, restore
from jepakit.evaluation.augmentation import CropSettings
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.judgement import check_labels
from jepakit.evaluation.picture_batches import Batches
from jepakit.evaluation.picture_evaluation import Tell
from jepakit.evaluation.subject import Pictures, Subject

# What may differ between an interrupted training and its continuation.
_ONLY_SPEED = {"num_workers", "checkpoint_epochs", "checkpoint_minutes", "cache_gigabytes"}


class TrainingSettings(CropSettings):
    """How long, in which batches and views, and when it is saved."""

    epochs: int = Field(20, ge=1, description="passes over the training pictures")
    batch_size: int = Field(128, ge=1, description="pictures per step, at most")
    num_workers: int = Field(0, ge=0, description="processes that load pictures")
    seed: int = Field(0, ge=0, description="of first weights, order, views and held-out part")
    checkpoint_epochs: int = Field(1, ge=1, description="saved at the end of every so many epochs")
    checkpoint_minutes: float | None = Field(
        15, gt=0, description="saved within an epoch too; null = at the end of epochs only"
    )


class Learner(ABC):
    """What is trained: networks, their optimizer, and what a step and an epoch's end mean."""

    network: nn.Module  # all that a checkpoint must hold
    optimizer: torch.optim.Optimizer
    figures: tuple[str, ...]  # names of what `step` returns
    num_losses: int  # so many of the figures, the first, are losses

    @abstractmethod
    def step(self, step: int, inputs: Tensor, labels: Tensor) -> Tensor:
        """One optimizer step, counted from 0; the figures of the batch."""

    @abstractmethod
    def examine(self) -> dict[str, float]:
        """Further figures at the end of an epoch, e.g. the accuracy on held-out pictures."""

    @abstractmethod
    def describe(self, figures: dict[str, float]) -> str:
        """The figures of an epoch in a few words."""


@dataclass
class PictureTraining:
    """Repeats a learner's step, saves after epochs and by time, and continues what was saved."""

    name: str  # in progress lines
    learner: Learner
    batches: Batches
    settings: TrainingSettings
    folder: Path
    identity: str  # of all that decides what is learned
    tell: Tell
    curves: dict[str, list[float]] = field(default_factory=dict)  # one number per epoch
    step: int = 0  # steps done

    def run(self) -> dict[str, list[float]]:
        """Train to the end; the curves. What has ended already is only loaded.

        Raises `ValueError` if the folder holds another training, no picture of an epoch can be
        read, or all losses have stopped being finite.
        """
        kept = CheckpointSettings(every_minutes=self.settings.checkpoint_minutes, keep_last=1)
        self._checkpoints = CheckpointFolder(self.folder, kept)
        self._sums = torch.zeros(len(self.learner.figures), dtype=torch.float32)
        self._num_batches = self._num_pictures = 0  # of this epoch, as the sums
        self._continue()
        self._first, self._started = self.step, time.monotonic()
        self._saved = self._started
        per_epoch = self.batches.order.steps_per_epoch
        with closing(self.batches.stream(self.step, self._num_steps())) as stream:
            for inputs, labels in stream:
                self._one_step(inputs, labels)
                if self.step % per_epoch == 0:
                    self._end_epoch(self.step // per_epoch)
                elif self._is_due():
                    self._save()
        return self.curves

    def _one_step(self, inputs: Tensor, labels: Tensor) -> None:
        # Randomness on the device and in mixing: a function of the step, so nothing is replayed.
        random = generator(self.settings.seed, "evaluation-step", self.step)
        torch.manual_seed(int(random.integers(2**62)))
        if len(labels):
            figures = self.learner.step(self.step, inputs, labels).detach().float()
            self._sums = self._sums.to(figures.device) + figures
            self._num_batches += 1
            self._num_pictures += len(labels)
        self.step += 1

    def _end_epoch(self, epoch: int) -> None:
        if not self._num_batches:
            raise ValueError(f"{self.name}: no training picture can be read: check the data")
        self._check()
        means = (self._sums / self._num_batches).tolist()
        figures = dict(zip(self.learner.figures, means, strict=True)) | self.learner.examine()
        for name, figure in figures.items():
            self.curves.setdefault(name, []).append(figure)
        described = self.learner.describe(figures) + self._unreadable()
        self._sums = torch.zeros_like(self._sums)
        self._num_batches = self._num_pictures = 0
        if epoch % self.settings.checkpoint_epochs == 0 or epoch == self.settings.epochs:
            self._save()
        self.tell(
            f"{self.name}: epoch {epoch} of {self.settings.epochs}, {described}, {self._left()}"
        )

    def _unreadable(self) -> str:
        missing = self.batches.order.num_pictures - self._num_pictures
        return f", unreadable pictures: {missing}" if missing else ""

    def _num_steps(self) -> int:
        return self.settings.epochs * self.batches.order.steps_per_epoch

    def _left(self) -> str:
        passed = time.monotonic() - self._started
        seconds = passed / (self.step - self._first) * (self._num_steps() - self.step)
        return f"{seconds / 60:.0f} min left" if seconds > 90 else f"{seconds:.0f} s left"

    def _is_due(self) -> bool:
        minutes = self.settings.checkpoint_minutes
        return minutes is not None and time.monotonic() - self._saved >= 60 * minutes

    def _check(self) -> None:
        if not torch.isfinite(self._sums[: self.learner.num_losses]).any():
            epoch = self.step // self.batches.order.steps_per_epoch
            raise ValueError(
                f"{self.name}: the loss is no longer finite after {epoch} epochs: use a lower lr"
            )

    def _save(self) -> None:
        self._check()
        state = capture(
            self.learner.network,
            self.learner.optimizer,
            step=self.step,
            identity=self.identity,
            curves=self.curves,
            sums=self._sums.tolist(),
            num_batches=self._num_batches,
            num_pictures=self._num_pictures,
        )
        self._checkpoints.save(state)
        self._saved = time.monotonic()

    def _continue(self) -> None:
        state = self._checkpoints.load_newest()
        if state is None:
            return
        if state.facts["identity"] != self.identity:
            raise ValueError(
                f"{self.folder} holds a training on other weights, pictures or settings: "
                "remove it or choose another folder"
            )
        restore(state, self.learner.network, self.learner.optimizer)
        self.step, self.curves = state.step, state.facts["curves"]
        self._sums = torch.tensor(state.facts["sums"], dtype=torch.float32)
        self._num_batches = state.facts["num_batches"]
        self._num_pictures = state.facts["num_pictures"]
        epochs = self.step / self.batches.order.steps_per_epoch
        self.tell(f"{self.name}: continues after {epochs:.1f} of {self.settings.epochs} epochs")


def identity(settings: TrainingSettings, subject: Subject, pictures: Pictures) -> str:
    """A hash of all that decides what is learned."""
    written = settings.model_dump_json(exclude=_ONLY_SPEED)
    facts = (subject.fingerprint, subject.size, subject.precision, pictures.fingerprint)
    digest = hashlib.sha256(f"{written} {facts}".encode())
    digest.update(pictures.labels.cpu().numpy().tobytes())
    return digest.hexdigest()


def check_pictures(train: Pictures, test: Pictures) -> int:
    """The number of classes; `ValueError` for an empty split, a missing label, one class only."""
    for split, pictures in (("training", train), ("test", test)):
        if not len(pictures):
            raise ValueError(f"the {split} split is empty: give at least one picture")
    rows = [Features(torch.empty(len(p), 0), p.labels.cpu()) for p in (train, test)]
    check_labels(*rows)
    return int(train.labels.max()) + 1


def predict(
    classify: Callable[[Tensor], Tensor],
    subject: Subject,
    pictures: Pictures,
    batch_size: int,
    num_workers: int,
) -> Int[Tensor, " B"]:
    """The class of the largest score `classify` gives each centre view; -1 = cannot be read."""
    found = torch.full((len(pictures),), -1, dtype=torch.int64)
    with torch.inference_mode():
        for views, places in pictures.views(subject.size, batch_size, num_workers):
            inputs = subject.normalise(views.to(subject.device, non_blocking=True))
            with subject.in_precision():
                scores = classify(inputs)
            found[places] = scores.argmax(dim=-1).cpu()
    return found


def marks_of(found: Int[Tensor, " B"], pictures: Pictures, tell: Tell) -> Float[Tensor, " B"]:
    """1 where the class found is the label, else 0; says how many could not be read."""
    num_missing = int((found < 0).sum())
    if num_missing:
        tell(
            f"{num_missing} of {len(pictures)} test pictures cannot be read and count as wrong: "
            "leave them out of the test split"
        )
    return (found == pictures.labels.cpu()).float()
