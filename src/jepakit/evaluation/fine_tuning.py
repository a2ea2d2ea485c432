"""End-to-end fine-tuning of a copy of the backbone (paper appendix A.2, low-shot)."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.core.ema import follow
from jepakit.core.schedules import warmup_cosine
from jepakit.evaluation.augmentation import Mixing, TrainingView
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.features import Reading, evaluating
from jepakit.evaluation.fitting import FittedProbe, held_out
from jepakit.evaluation.judgement import Judgement
from jepakit.evaluation.low_shot import LowShot
from jepakit.evaluation.picture_batches import Order, ViewBatches
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
from jepakit.models.backbone import Backbone
from jepakit.models.initialisation import STANDARD_DEVIATION

_PROBED_AT_ONCE = 128  # pictures


class FineTuning(PictureEvaluation):
    """AdamW on all weights of a copy and a linear classifier of its average-pooled tokens."""

    class Settings(TrainingSettings):
        """The recipe; the defaults are for some thousand to a hundred thousand pictures."""

        kind: Literal["fine_tune"] = "fine_tune"
        epochs: int = Field(50, ge=1, description="passes over the training pictures")
        lr: float = Field(5e-4, gt=0, description="peak rate of the head, whatever the batch size")
        warmup_epochs: float = Field(5, ge=0, description="rise to the peak")
        layer_decay: float = Field(0.75, gt=0, le=1, description="rate of a block over the next's")
        weight_decay: float = Field(0.05, ge=0, description="of matrices")
        clip_gradients: float | None = Field(1.0, gt=0, description="largest gradient norm")
        label_smoothing: float = Field(0.1, ge=0, lt=1, description="share spread on all classes")
        randaugment_ops: int = Field(2, ge=0, description="operations per view; 0 = off")
        randaugment_magnitude: int = Field(9, ge=0, le=30, description="of each operation")
        mixup: float = Field(0.2, ge=0, description="how evenly two are blended; 0 = off")
        cutmix: float = Field(1.0, ge=0, description="how evenly two are cut together; 0 = off")
        head: Literal["random", "probe"] = Field(
            "random", description="first weights; probe = logistic regression on frozen features"
        )
        ema: float = Field(0.999, ge=0, lt=1, description="memory of the weights judged; 0 = off")
        held_out: float = Field(
            0.0, ge=0, le=0.5, description="share of the training set for its curve; 0 = none"
        )

        @classmethod
        def low_shot(cls) -> FineTuning.Settings:
            """For a dozen to some thousand pictures; it starts from the frozen probe.

            A random head needs more steps than few pictures give, and bends good features before
            it has learned anything (Kumar et al. 2022).
            """
            return cls(
                epochs=50,
                batch_size=32,
                lr=3e-4,
                head="probe",
                label_smoothing=0.1,
                randaugment_ops=0,
                mixup=0,
                cutmix=0,
                ema=0.99,
            )

        @classmethod
        def paper_low_shot(cls) -> FineTuning.Settings:
            """The paper's protocol for 1 % of ImageNet's labels (METHOD: low-shot).

            What the paper leaves open is left out: RandAugment, mixing, averaged weights.
            """
            return cls(
                epochs=50,
                batch_size=512,
                lr=3e-5,
                layer_decay=0.75,
                label_smoothing=0.1,
                clip_gradients=None,
                randaugment_ops=0,
                mixup=0,
                cutmix=0,
                ema=0,
            )

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()

    def judge(
        self, subject: Subject, train: Pictures, test: Pictures, folder: Path, tell: Tell
    ) -> Judgement:
        """Scored as `fine_tune`; a test picture that cannot be read counts as wrong.

        The test set takes no part in any choice: the weights after the last epoch are judged.
        """
        settings, num_classes = self.settings, check_pictures(train, test)
        held = torch.zeros(len(train), dtype=torch.bool)
        if settings.held_out:
            held = held_out(train.labels.cpu(), settings.held_out, settings.seed)
        seen = train.at(~held)
        order = Order(len(seen), settings.batch_size, settings.seed)
        view = TrainingView(
            settings, subject.size, settings.randaugment_ops, settings.randaugment_magnitude
        )
        batches = ViewBatches(subject, seen, view, order, settings.num_workers)
        tuned = Tuned(settings, subject, num_classes, order.steps_per_epoch, train.at(held))
        if settings.head == "probe":
            tuned.start_from(probe_of(subject, seen, num_classes, settings))
        named = identity(settings, subject, train)
        training = PictureTraining("fine-tuning", tuned, batches, settings, folder, named, tell)
        curves = training.run()
        found = tuned.predict(test)
        return Judgement(
            {"fine_tune": marks_of(found, test, tell)},
            {"fine_tune": found},
            curves={f"fine_tune/{name}": curve for name, curve in curves.items()},
        )


class Classifier(nn.Module):
    """A backbone's average-pooled last tokens, and a linear layer."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.linear = nn.Linear(backbone.width, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=STANDARD_DEVIATION)
        nn.init.zeros_(self.linear.bias)

    def forward(self, inputs: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """A score per class."""
        (tokens,) = self.backbone.last_layers(inputs, 1)
        return self.linear(tokens.float().mean(dim=1))


class Tuned(Learner):
    """A trained copy of the subject's backbone and, if asked for, the average of its weights."""

    network: nn.ModuleDict
    figures = ("loss", "accuracy")
    num_losses = 1

    def __init__(
        self,
        settings: FineTuning.Settings,
        subject: Subject,
        num_classes: int,
        steps_per_epoch: int,
        judged: Pictures,
    ) -> None:
        self._settings, self._subject, self._judged = settings, subject, judged
        self._steps_per_epoch = steps_per_epoch
        self._mixing = Mixing(settings.mixup, settings.cutmix, num_classes)
        backbone = deepcopy(subject.backbone).requires_grad_(False)
        for parameters in backbone.parameters_by_depth():
            for parameter in parameters:
                parameter.requires_grad_(True)  # a target encoder comes without gradients
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.trained = Classifier(backbone, num_classes).to(subject.device).train()
        self.network = nn.ModuleDict({"trained": self.trained})
        if settings.ema:
            self.network["average"] = deepcopy(self.trained).requires_grad_(False)
        groups = layer_groups(self.trained, settings)
        self.optimizer = torch.optim.AdamW(groups, lr=settings.lr)

    def start_from(self, probe: FittedProbe) -> None:
        """Make the linear layer say what a probe says of the same features."""
        weights, scaling = probe.weights.cpu(), probe.scaling
        weight = (weights[:-1] / scaling.deviation.cpu().double()[:, None]).T
        bias = weights[-1] - weight @ scaling.mean.cpu().double()
        for classifier in self.network.values():
            assert isinstance(classifier, Classifier)
            with torch.no_grad():
                classifier.linear.weight.copy_(weight)
                classifier.linear.bias.copy_(bias)

    def step(self, step: int, inputs: Tensor, labels: Tensor) -> Tensor:
        """One step of AdamW; loss and accuracy on the views as they were changed and mixed."""
        settings = self._settings
        self._set_rates(step)
        inputs, targets = self._mixing(inputs, labels)
        with self._subject.in_precision():
            scores = self.trained(inputs).float()
        loss = F.cross_entropy(scores, targets, label_smoothing=settings.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        if settings.clip_gradients is not None:
            nn.utils.clip_grad_norm_(self.trained.parameters(), settings.clip_gradients)
        self.optimizer.step()
        if settings.ema:
            # The average of a short training shall not remember its first weights.
            memory = min(settings.ema, (1 + step) / (10 + step))
            follow(self.network["average"], self.trained, memory)
        right = (scores.argmax(dim=1) == targets.argmax(dim=1)).float().mean()
        return torch.stack([loss.detach(), right])

    def examine(self) -> dict[str, float]:
        """Accuracy of the weights to be judged on the held-out pictures, if there are any."""
        if not len(self._judged):
            return {}
        right = self.predict(self._judged) == self._judged.labels.cpu()
        return {"held_out": right.float().mean().item()}

    def describe(self, figures: dict[str, float]) -> str:
        """Loss and accuracy."""
        if "held_out" in figures:
            accuracy = f"held-out accuracy {figures['held_out']:.1%}"
        else:
            accuracy = f"training accuracy {figures['accuracy']:.1%}"
        return f"loss {figures['loss']:.3f}, {accuracy}"

    def predict(self, pictures: Pictures) -> Tensor:
        """The class of each picture, by the averaged weights if there are any."""
        settings = self._settings
        judging = self.network["average" if settings.ema else "trained"]
        with evaluating(judging):
            return predict(
                judging, self._subject, pictures, settings.batch_size, settings.num_workers
            )

    def _set_rates(self, step: int) -> None:
        settings = self._settings
        progress = (step + 1) / (settings.epochs * self._steps_per_epoch)
        warmup = min(settings.warmup_epochs / settings.epochs, 1.0)
        rate = warmup_cosine(progress, warmup, 0.0, settings.lr, 0.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]


def probe_of(
    subject: Subject, pictures: Pictures, num_classes: int, settings: FineTuning.Settings
) -> FittedProbe:
    """Logistic regression on the frozen features of the pictures that can be read."""
    rows, places = [], []
    with torch.no_grad(), evaluating(subject.backbone), subject.in_precision():
        for views, found in pictures.views(subject.size, _PROBED_AT_ONCE, settings.num_workers):
            inputs = subject.normalise(views.to(subject.device))
            rows.append(Reading()(subject.backbone, inputs).cpu())
            places.append(found)
    if not rows:
        raise ValueError("no training picture can be read: check the data")
    labels = pictures.labels.cpu()[torch.cat(places)]
    return LowShot().fit(Features(torch.cat(rows), labels), num_classes, settings.seed)


def layer_groups(classifier: Classifier, settings: FineTuning.Settings) -> list[dict[str, Any]]:
    """Optimizer groups; `share` is the rate over that of the head, decaying towards the input.

    The final norm learns as fast as the head, the last block `layer_decay` times that, and so on
    down to the embeddings. Parameters of one dimension are never decayed to zero.
    """
    depths = classifier.backbone.parameters_by_depth()
    shares = [settings.layer_decay ** (len(depths) - 1 - place) for place in range(len(depths))]
    groups = []
    for parameters, share in [
        *zip(depths, shares, strict=True),
        (list(classifier.linear.parameters()), 1.0),
    ]:
        for chosen, decay in (
            ([p for p in parameters if p.ndim > 1], settings.weight_decay),
            ([p for p in parameters if p.ndim <= 1], 0.0),
        ):
            if chosen:
                groups.append({"params": chosen, "share": share, "weight_decay": decay})
    return groups
