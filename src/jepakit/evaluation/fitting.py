"""What probes share: scaling, the part held out to choose by, a fitted linear classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import AfterValidator, Field
from torch import Tensor

from jepakit.core.randomness import generator
from jepakit.evaluation.logistic_regression import with_ones


def _strongest_first(l2: tuple[float, ...]) -> tuple[float, ...]:
    """Strong to weak: each solution is a good start for the next, and wins a tie."""
    if not l2 or min(l2) <= 0:
        raise ValueError("give at least one l2, each above 0")
    return tuple(sorted(l2, reverse=True))


Strengths = Annotated[
    tuple[float, ...],
    AfterValidator(_strongest_first),
    Field(description="weight penalties, per mean loss"),
]
_ROWS = 1024  # of a block that stays in the cache
USUAL_STRENGTHS = (1.0, 0.1, 0.01, 0.001, 0.0001)


@dataclass(frozen=True)
class FittedProbe:
    """A linear classifier of the last `width` numbers of a row; intercepts in the last weights."""

    width: int
    scaling: Scaling
    weights: Float[Tensor, "E K"]
    l2: float

    def scores(self, values: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Log-odds per class, up to a constant per row; softmax makes probabilities of them."""
        inputs = self.scaling(ready(values)[:, -self.width :])
        return with_ones(inputs) @ self.weights.to(inputs.dtype)


@dataclass(frozen=True)
class Scaling:
    """Makes each feature of the training set have mean 0 and deviation 1 (0 if constant)."""

    mean: Float[Tensor, " D"]
    deviation: Float[Tensor, " D"]

    @classmethod
    def of(cls, values: Float[Tensor, "B D"]) -> Scaling:
        """The scaling of a training set."""
        mean = values.mean(dim=0)
        squares = torch.zeros_like(mean)
        for rows in values.split(_ROWS):  # far faster on a CPU than var_mean, and as exact
            squares += (rows - mean).square_().sum(dim=0)
        deviation = (squares / len(values)).sqrt()
        # A constant feature's deviation is rounding; dividing by it would make noise of it.
        constant = deviation <= 1e-6 * mean.abs()
        return cls(mean, torch.where(constant, torch.inf, deviation))

    def __call__(self, values: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The scaled features."""
        return torch.sub(values, self.mean).div_(self.deviation)


def held_out(labels: Int[Tensor, " B"], share: float, seed: int) -> Bool[Tensor, " B"]:
    """A random part, about `share` of every class; the first drawn of each class is never in it."""
    drawn = torch.from_numpy(generator(seed, "held-out").permutation(len(labels)))
    order = drawn.to(labels.device)
    order = order[labels[order].argsort(stable=True)]  # by class, random within
    repeated = order[1:][labels[order][1:] == labels[order][:-1]]
    held = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    held[repeated[:: round(1 / share)]] = True
    return held


def to_choose_by(labels: Int[Tensor, " B"], share: float, seed: int) -> Bool[Tensor, " B"]:
    """The held-out part; `ValueError` if there is none to choose by."""
    held = held_out(labels, share, seed)
    if not held.any():
        raise ValueError(
            f"{len(labels)} training pictures of {len(labels.unique())} classes are too few to "
            "hold some out: give more pictures of each class"
        )
    return held


def classify(weights: Float[Tensor, "E K"], values: Float[Tensor, "B D"]) -> Int[Tensor, " B"]:
    """The class of the largest score; the intercepts are the last row of `weights`."""
    return (with_ones(values) @ weights.to(values.dtype)).argmax(dim=1)


def ready(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """At least float32, moved off a device that has no float64."""
    values = values.cpu() if values.device.type == "mps" else values
    return values.to(torch.promote_types(values.dtype, torch.float32))
