"""The paper's linear probe: heads of many settings, trained together in one pass over features."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from jepakit.core import settings as core
from jepakit.core.randomness import generator
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.fitting import Scaling, to_choose_by
from jepakit.evaluation.judgement import Classification, Predictions

Layers = Literal["last", "last_four"]
Norm = Literal["linear", "batch_norm"]

_SCORES = 2**24  # numbers of a block of scores: 64 MB, however many pictures there are
_STEPS = 640  # of a default training: more do not make the best head better
_SMALLEST_LOG = -50.0
_EPSILON = 1e-5  # of the batch normalisation, as everywhere


class LinearSweep(Classification):
    """Linear heads by stochastic gradient descent with LARS; the best on held-out pictures counts.

    Every combination of layers, normalisation, learning rate and weight decay is a head. Heads see
    the same batches but do not influence each other. Heads with the same input lie in one tensor,
    so that one matrix product trains them all. The defaults suit some hundreds to some ten
    thousands of pictures; `Settings.paper()` gives METHOD section 4's protocol (paper appendix
    A.2). The test set takes no part in any choice.
    """

    class Settings(core.Settings):
        """The heads, and how they are trained."""

        kind: Literal["linear_sweep"] = "linear_sweep"
        layers: tuple[Layers, ...] = Field(
            ("last", "last_four"), min_length=1, description="what a head sees, if a row has both"
        )
        norms: tuple[Norm, ...] = Field(
            ("linear", "batch_norm"), min_length=1, description="how it is normalised"
        )
        learning_rates: tuple[float, ...] = Field(
            (0.1, 0.3, 1.0, 3.0, 10.0), min_length=1, description="of the first epochs"
        )
        weight_decays: tuple[float, ...] = Field((0.0, 5e-4), min_length=1)
        scale_by_batch: bool = Field(False, description="multiply the rates by batch / 256")
        batch_size: int = Field(256, ge=4, description="at most; batches are equally large")
        epochs: int | None = Field(
            None, ge=1, description="null = 20 to 50, the more the fewer batches an epoch has"
        )
        decay_every: int | None = Field(
            None, ge=1, description="epochs after which rates fall to a tenth; null = 0.3 of all"
        )
        momentum: float = Field(0.9, ge=0, lt=1)
        # Ten times the usual: weights learn in a few hundred steps, at rates at which the biases,
        # which do not adapt, still come to rest.
        trust: float = Field(0.01, gt=0, description="LARS: length of a step / of the weights")
        held_out: float = Field(0.2, ge=0.01, le=0.5, description="share of the training set")
        seed: int = Field(0, ge=0, description="of the held-out part, first weights and order")
        refit: bool = Field(False, description="train the chosen head again on all pictures")

        @field_validator("learning_rates", "weight_decays")
        @classmethod
        def _sensible(cls, numbers: tuple[float, ...]) -> tuple[float, ...]:
            if min(numbers) < 0 or len(set(numbers)) != len(numbers):
                raise ValueError("give different numbers, none below 0")
            return numbers

        def lasting(self, num_rows: int) -> LinearSweep.Settings:
            """With a number of epochs in place of null, for so many training pictures."""
            per_epoch = -(-num_rows // self.batch_size)
            epochs = self.epochs or min(50, max(20, -(-_STEPS // per_epoch)))
            decay_every = self.decay_every or max(1, round(0.3 * epochs))
            return self.model_copy(update={"epochs": epochs, "decay_every": decay_every})

        @classmethod
        def paper(cls) -> LinearSweep.Settings:
            """The paper's: batches of 16,384, and rates that are scaled by them."""
            return cls(
                batch_size=16_384,
                learning_rates=(0.01, 0.05, 0.001),
                scale_by_batch=True,
                trust=0.001,
                epochs=50,
                decay_every=15,
            )

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()

    def predict(
        self, train: Features, num_classes: int, values: Float[Tensor, "B D"]
    ) -> Predictions:
        """Scored as `linear_sweep`; held-out accuracies as `sweep/<head>`, 0 for a diverged head.

        Curves have a number per epoch and end where their head diverged: `sweep/<head>` the
        held-out accuracy, `sweep/<head>/loss` the training loss.
        """
        sweep = self.fit(train, num_classes)
        found = sweep.best.scores(values).argmax(dim=1)
        choice = {
            "linear_sweep_lr": sweep.best.learning_rate,
            "linear_sweep_wd": sweep.best.weight_decay,
            "linear_sweep_layers": sweep.best.width / train.last().values.shape[1],
            "linear_sweep_batch_norm": float(sweep.best.norm == "batch_norm"),
        }
        return Predictions({"linear_sweep": found}, choice | sweep.accuracies, sweep.curves)

    def fit(self, train: Features, num_classes: int) -> Sweep:
        """Train all heads on a part of the pictures, and choose by the others.

        Raises `ValueError` if nothing can be held out, and if every head diverged.
        """
        held = to_choose_by(train.labels, self.settings.held_out, self.settings.seed)
        places = (~held).nonzero().squeeze(1)
        settings = self.settings.lasting(len(places))
        groups = self._groups(train, num_classes, len(places))
        judged = Features(train.values[held], train.labels[held], train.width)
        curves = _train(groups, train, places, judged, settings)
        accuracies = {
            name: curve[-1] if len(curve) == settings.epochs else 0.0
            for name, curve in curves.items()
            if not name.endswith("/loss")
        }
        complete = [name for name in accuracies if len(curves[name]) == settings.epochs]
        if not complete:
            raise ValueError("all heads of the linear sweep diverged: use smaller learning rates")
        chosen = max(complete, key=accuracies.__getitem__)  # the first wins a tie
        best = next(head for group in groups for head in group.trained() if head.name == chosen)
        if self.settings.refit:
            best = self._again(best, train, num_classes, settings)
        return Sweep(best, accuracies, curves)

    def _groups(self, train: Features, num_classes: int, num_rows: int) -> list[_Group]:
        """The heads, by input; without a `width` a row is one layer."""
        layers = [
            name for name in self.settings.layers if train.width is not None or name == "last"
        ]
        if not layers:
            raise ValueError("the features hold one layer only: add `last` to the layers to try")
        widths = {"last": train.last().values.shape[1], "last_four": train.values.shape[1]}
        rates = self.settings
        factor = min(rates.batch_size, num_rows) / 256 if rates.scale_by_batch else 1.0
        return [
            _Group(name, norm, widths[name], num_classes, rates, factor, train.values.device)
            for name in layers
            for norm in self.settings.norms
        ]

    def _again(self, head: Head, train: Features, num_classes: int, settings: Settings) -> Head:
        """The head trained on all pictures, with the settings of the sweep."""
        assert settings.epochs is not None
        alone = settings.model_copy(
            update={
                "layers": (head.layers,),
                "norms": (head.norm,),
                "learning_rates": (head.learning_rate,),
                "weight_decays": (head.weight_decay,),
            }
        )
        places = torch.arange(len(train.labels), device=train.labels.device)
        groups = LinearSweep(alone)._groups(train, num_classes, len(places))
        judged = Features(train.values[:1], train.labels[:1], train.width)
        curves = _train(groups, train, places, judged, alone)
        if len(curves[head.name]) < settings.epochs:
            raise ValueError(f"{head.name} diverged when trained on all pictures: set refit=false")
        return groups[0].trained()[0]


@dataclass(frozen=True)
class Head:
    """A trained head: a linear map of the last `width` numbers of a row, scaled."""

    layers: Layers
    norm: Norm
    learning_rate: float
    weight_decay: float
    width: int
    scaling: Scaling
    weight: Float[Tensor, "K D"]
    bias: Float[Tensor, " K"]

    @property
    def name(self) -> str:
        """E.g. `sweep/last_four/batch_norm/lr=0.05/wd=0`."""
        rates = f"lr={self.learning_rate:g}/wd={self.weight_decay:g}"
        return f"sweep/{self.layers}/{self.norm}/{rates}"

    def scores(self, values: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Log-odds per class, up to a constant per row; at least float32."""
        rows = values[:, -self.width :]
        rows = self.scaling(rows.to(torch.promote_types(rows.dtype, torch.float32)))
        return F.linear(rows, self.weight.to(rows.dtype), self.bias.to(rows.dtype))


@dataclass(frozen=True)
class Sweep:
    """The chosen head; held-out accuracies by head; curves as in `LinearSweep.predict`."""

    best: Head
    accuracies: dict[str, float]
    curves: dict[str, list[float]]


class _Group:
    """Heads that share an input: H heads x K classes in one weight tensor, trained by LARS."""

    def __init__(
        self,
        layers: Layers,
        norm: Norm,
        width: int,
        num_classes: int,
        settings: LinearSweep.Settings,
        factor: float,
        device: torch.device,
    ) -> None:
        self.layers, self.norm, self.width = layers, norm, width
        self.num_classes, self.settings = num_classes, settings
        self.pairs = [(r, d) for r in settings.learning_rates for d in settings.weight_decays]
        rates = torch.tensor(self.pairs, device=device)
        self.rates, self.decays = rates[:, :1] * factor, rates[:, 1:]
        # A head starts the same whichever others there are, so that training it alone is the same.
        random = generator(settings.seed, f"linear-sweep-{layers}")
        first = torch.from_numpy(random.standard_normal((num_classes, width)))
        self.weight = (0.01 * first).float().to(device).repeat(len(self.pairs), 1)
        self.bias = torch.zeros(len(self.weight), device=device)
        self.speed, self.bias_speed = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
        self.mean, self.variance = (
            make(width, device=device) for make in (torch.zeros, torch.ones)
        )
        self.num_steps = 0

    def step(
        self, rows: Float[Tensor, "B D"], labels: Int[Tensor, " B"], factor: float
    ) -> Float[Tensor, " H"]:
        """One step of every head with its rate x `factor`; the mean cross-entropy before it."""
        inputs = self._normalised(rows[:, -self.width :])
        # H K B: with the batch last, products and sums over classes are several times as fast.
        scores = torch.addmm(self.bias[:, None], self.weight, inputs.T)
        logs = scores.view(len(self.pairs), self.num_classes, -1).log_softmax(dim=1)
        right = labels.expand(len(self.pairs), 1, -1)
        losses = -logs.gather(1, right).mean(dim=(1, 2))
        # Far smaller shares would be subnormal numbers, with which CPUs are 100 times slower.
        shares = logs.clamp_min_(_SMALLEST_LOG).exp_()
        errors = shares.scatter_add_(1, right, logs.new_full((), -1.0).expand_as(right))
        errors = errors.flatten(0, 1) / len(rows)
        self._lars(errors @ inputs, factor)
        bias_gradient = errors.sum(dim=1).view(len(self.pairs), -1)
        self.bias_speed.mul_(self.settings.momentum).add_(
            (self.rates * factor * bias_gradient).flatten()
        )
        self.bias -= self.bias_speed
        return losses

    def _lars(self, gradient: Float[Tensor, "HK D"], factor: float) -> None:
        """Layer-wise adaptive rates (You et al. 2017), one trust ratio per head."""
        weight, gradient, speed = (
            part.view(len(self.pairs), -1) for part in (self.weight, gradient, self.speed)
        )
        length = weight.norm(dim=1, keepdim=True)
        steepness = gradient.norm(dim=1, keepdim=True) + self.decays * length
        ratio = self.settings.trust * length / steepness
        ratio = torch.where((length > 0) & (steepness > 0), ratio, 1.0)
        gradient.addcmul_(weight, self.decays.expand_as(weight))
        speed.mul_(self.settings.momentum).addcmul_(gradient, self.rates * factor * ratio)
        weight -= speed

    def _normalised(self, rows: Tensor) -> Tensor:
        """By the batch, whose statistics enter the average over all batches so far."""
        if self.norm == "linear":
            return rows
        self.num_steps += 1
        share = 1 / self.num_steps  # the features stay the same, so all batches count alike
        return F.batch_norm(
            rows, self.mean, self.variance, training=True, momentum=share, eps=_EPSILON
        )

    def accuracies(self, rows: Float[Tensor, "B D"], labels: Int[Tensor, " B"]) -> Tensor:
        """The share of rows that each head has right; NaN for heads that are not finite."""
        scaling, right = self._scaling(), torch.zeros(len(self.pairs), device=rows.device)
        size = max(1, _SCORES // len(self.weight))
        for part, truth in zip(rows.split(size), labels.split(size), strict=True):
            scores = F.linear(scaling(part[:, -self.width :].float()), self.weight, self.bias)
            found = scores.view(len(part), -1, self.num_classes).argmax(dim=2)
            right += (found == truth[:, None]).sum(dim=0)
        finite = self.weight.view(len(self.pairs), -1).isfinite().all(dim=1)
        finite &= self.bias.view(len(self.pairs), -1).isfinite().all(dim=1)
        return torch.where(finite, right / len(rows), torch.nan)

    def _scaling(self) -> Scaling:
        return Scaling(self.mean, (self.variance + _EPSILON * (self.norm == "batch_norm")).sqrt())

    def trained(self) -> list[Head]:
        """The heads as they are now."""
        weights = self.weight.view(len(self.pairs), self.num_classes, self.width)
        biases = self.bias.view(len(self.pairs), self.num_classes)
        return [
            Head(self.layers, self.norm, rate, decay, self.width, self._scaling(), weight, bias)
            for (rate, decay), weight, bias in zip(self.pairs, weights, biases, strict=True)
        ]


def _train(
    groups: list[_Group],
    train: Features,
    places: Int[Tensor, " S"],
    held: Features,
    settings: LinearSweep.Settings,
) -> dict[str, list[float]]:
    """Train on the rows at `places`; the curves of all heads."""
    names = [head.name for group in groups for head in group.trained()]
    curves: dict[str, list[float]] = {name: [] for name in names}
    curves |= {f"{name}/loss": [] for name in names}
    running = set(names)
    assert settings.epochs is not None
    assert settings.decay_every is not None
    for epoch in range(settings.epochs):
        factor = 0.1 ** (epoch // settings.decay_every)
        batches = _batches(train, places, epoch, settings)
        losses = torch.stack(
            [
                torch.cat([group.step(rows, labels, factor) for group in groups])
                for rows, labels in batches
            ]
        ).mean(dim=0)
        right = torch.cat([group.accuracies(held.values, held.labels) for group in groups])
        for name, loss, accuracy in zip(names, losses.tolist(), right.tolist(), strict=True):
            if not math.isfinite(loss + accuracy):
                running.discard(name)
            if name in running:
                curves[name].append(accuracy)
                curves[f"{name}/loss"].append(loss)
    return curves


def _batches(
    train: Features, places: Tensor, epoch: int, settings: LinearSweep.Settings
) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and labels of one epoch, in an order of its own, from its augmented copy."""
    copies = train.augmented
    values = train.values if copies is None else copies[epoch % len(copies)]
    drawn = generator(settings.seed, "linear-sweep-order", epoch).permutation(len(places))
    order = places[torch.from_numpy(drawn).to(places.device)]
    for chosen in order.tensor_split(-(-len(order) // settings.batch_size)):
        # Not values[chosen]: for whole rows this is more than twice as fast.
        yield values.index_select(0, chosen).float(), train.labels[chosen]
