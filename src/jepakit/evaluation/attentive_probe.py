"""The attentive probe (V-JEPA): what attention with one learned query reads off frozen tokens."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.core.schedules import cosine
from jepakit.evaluation.augmentation import TrainingView
from jepakit.evaluation.features import evaluating
from jepakit.evaluation.fitting import to_choose_by
from jepakit.evaluation.frozen_tokens import CentreTokens, KeptTokens, frozen_tokens, gigabytes
from jepakit.evaluation.judgement import Judgement
from jepakit.evaluation.picture_batches import Batches, Order, ViewBatches
from jepakit.evaluation.picture_evaluation import PictureEvaluation, Tell
from jepakit.evaluation.picture_training import (
    Learner,
    PictureTraining,
    TrainingSettings,
    check_pictures,
    identity,
    marks_of,
    predict,
)
from jepakit.evaluation.subject import Pictures, Subject
from jepakit.models.heads import AttentiveHead, score_together


class AttentiveProbe(PictureEvaluation):
    """Every learning rate with every weight decay, all heads trained on the same tokens at once.

    The head that predicts most held-out training pictures right judges the test pictures.
    """

    class Settings(TrainingSettings):
        """The sweep, and the views it is trained on."""

        kind: Literal["attentive"] = "attentive"
        lr: tuple[float, ...] = Field((3e-4, 1e-3, 3e-3), description="peak rates to try")
        weight_decay: tuple[float, ...] = Field((0.01, 0.1), description="of matrices, to try")
        num_heads: int | None = Field(
            None, ge=1, description="of the attention; null = one per 64 of the width"
        )
        held_out: float = Field(0.1, ge=0.01, le=0.5, description="share of the training set")
        augment: bool = Field(True, description="random crops and flips; false = centre views")
        cache_gigabytes: float = Field(
            2.0, ge=0, description="most memory for tokens that are computed once and kept"
        )

        @field_validator("lr", "weight_decay")
        @classmethod
        def _some(cls, numbers: tuple[float, ...]) -> tuple[float, ...]:
            if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
                raise ValueError("give at least one number, none below 0 and none twice")
            return numbers

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()

    def judge(
        self, subject: Subject, train: Pictures, test: Pictures, folder: Path, tell: Tell
    ) -> Judgement:
        """Scored as `attentive`; a test picture that cannot be read counts as wrong.

        `chosen` has the held-out accuracy of every head as `sweep/attentive/lr=…/wd=…`, and the
        best one's `attentive_lr` and `attentive_weight_decay`. The curves are the best one's.
        """
        settings, num_classes = self.settings, check_pictures(train, test)
        with evaluating(subject.backbone):
            sweep, curves = self._train(subject, train, num_classes, folder, tell)
            best = sweep.best({name: curve[-1] for name, curve in curves.items()})
            head = sweep.heads[best].eval()
            found = predict(
                lambda inputs: head(frozen_tokens(subject, inputs)),
                subject,
                test,
                settings.batch_size,
                settings.num_workers,
            )
        name, (lr, decay) = sweep.names[best], sweep.trials[best]
        shares = {f"sweep/attentive/{name}": curves[f"{name}/held_out"][-1] for name in sweep.names}
        return Judgement(
            {"attentive": marks_of(found, test, tell)},
            {"attentive": found},
            shares | {"attentive_lr": lr, "attentive_weight_decay": decay},
            {f"attentive/{kind}": curves[f"{name}/{kind}"] for kind in ("loss", "held_out")},
        )

    def _train(
        self, subject: Subject, train: Pictures, num_classes: int, folder: Path, tell: Tell
    ) -> tuple[Sweep, dict[str, list[float]]]:
        settings = self.settings
        held = to_choose_by(train.labels.cpu(), settings.held_out, settings.seed)
        seen, judged = train.at(~held), train.at(held)
        all_kept = not settings.augment and self._fits(subject, len(train))
        batches = self._batches(subject, seen, all_kept)
        tokens: Iterable[tuple[Tensor, Tensor]] = self._centre_tokens(subject, judged)
        if all_kept or self._fits(subject, len(judged)):
            tokens = list(tokens)
        num_steps = settings.epochs * batches.order.steps_per_epoch
        sweep = Sweep(settings, subject, num_classes, num_steps, tokens, judged.labels)
        named = identity(settings, subject, train)
        training = PictureTraining("attentive probe", sweep, batches, settings, folder, named, tell)
        return sweep, training.run()

    def _batches(self, subject: Subject, seen: Pictures, kept: bool) -> Batches:
        settings = self.settings
        order = Order(len(seen), settings.batch_size, settings.seed)
        if kept:
            return KeptTokens(self._centre_tokens(subject, seen), order)
        view = TrainingView(settings if settings.augment else None, subject.size)
        return ViewBatches(subject, seen, view, order, settings.num_workers)

    def _centre_tokens(self, subject: Subject, pictures: Pictures) -> CentreTokens:
        return CentreTokens(subject, pictures, self.settings.batch_size, self.settings.num_workers)

    def _fits(self, subject: Subject, num_pictures: int) -> bool:
        return gigabytes(subject, num_pictures) <= self.settings.cache_gigabytes


class Sweep(Learner):
    """Heads that start alike and learn from the same tokens, each at its own rate and decay."""

    def __init__(
        self,
        settings: AttentiveProbe.Settings,
        subject: Subject,
        num_classes: int,
        num_steps: int,
        held_tokens: Iterable[tuple[Tensor, Tensor]],
        held_labels: Int[Tensor, " B"],
    ) -> None:
        self.trials = list(product(settings.lr, settings.weight_decay))
        self.names = [f"lr={lr:g}/wd={decay:g}" for lr, decay in self.trials]
        self.figures = tuple(f"{name}/loss" for name in self.names)
        self.num_losses = len(self.figures)
        self._subject, self._num_steps = subject, num_steps
        self._held_tokens, self._held_labels = held_tokens, held_labels.to(subject.device)
        self.heads: list[AttentiveHead] = []  # one per trial, in order
        groups = []
        for lr, decay in self.trials:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                head = AttentiveHead(subject.backbone.width, num_classes, settings.num_heads)
            self.heads.append(head.to(subject.device))
            for parameters, decayed in (
                ([p for p in head.parameters() if p.ndim > 1], decay),
                ([p for p in head.parameters() if p.ndim <= 1], 0.0),
            ):
                groups.append({"params": parameters, "lr": lr, "peak": lr, "weight_decay": decayed})
        self.network = nn.ModuleList(self.heads)
        self.optimizer = torch.optim.AdamW(groups)

    def step(self, step: int, inputs: Tensor, labels: Tensor) -> Tensor:
        """All heads by one product; `inputs` are views, or tokens that were kept."""
        for group in self.optimizer.param_groups:
            group["lr"] = cosine(step / self._num_steps, group["peak"], 0.0)
        tokens = inputs if inputs.ndim == 3 else frozen_tokens(self._subject, inputs)
        losses = _cross_entropies(self._scores(tokens), labels).mean(dim=1)
        self.optimizer.zero_grad()
        losses.sum().backward()  # no head has a share in another's loss
        self.optimizer.step()
        return losses

    @torch.no_grad()
    def examine(self) -> dict[str, float]:
        """Accuracy and loss of every head on the held-out pictures."""
        sums = torch.zeros(2, len(self.names), device=self._subject.device)
        num_seen = 0
        for tokens, places in self._held_tokens:
            labels = self._held_labels[places.to(self._held_labels.device)]
            scores = self._scores(tokens)
            sums[0] += (scores.argmax(dim=-1) == labels).sum(dim=1)
            sums[1] += _cross_entropies(scores, labels).sum(dim=1)
            num_seen += len(labels)
        if not num_seen:
            raise ValueError("no held-out picture can be read: check the data")
        shares, losses = (sums / num_seen).tolist()
        figures: dict[str, float] = {}
        for name, share, loss in zip(self.names, shares, losses, strict=True):
            figures |= {f"{name}/held_out": share, f"{name}/held_out_loss": loss}
        return figures

    def best(self, figures: dict[str, float]) -> int:
        """The head with the highest held-out accuracy; among equals the one of the lowest loss."""

        def merit(place: int) -> tuple[float, float]:
            name = self.names[place]
            loss = figures[f"{name}/held_out_loss"]
            return figures[f"{name}/held_out"], -loss if loss == loss else -torch.inf

        return max(range(len(self.names)), key=merit)

    def describe(self, figures: dict[str, float]) -> str:
        """Of the best head."""
        name = self.names[self.best(figures)]
        loss, share = figures[f"{name}/loss"], figures[f"{name}/held_out"]
        return f"best {name}: loss {loss:.3f}, held-out accuracy {share:.1%}"

    def _scores(self, tokens: Tensor) -> Tensor:
        with self._subject.in_precision():
            return score_together(self.heads, tokens).float()


def _cross_entropies(scores: Tensor, labels: Tensor) -> Tensor:
    """Of S heads' scores S B K with labels B: S B."""
    repeated = labels.expand(len(scores), -1)
    return F.cross_entropy(scores.transpose(1, 2), repeated, reduction="none")
