"""Multinomial logistic regression, solved exactly: the arithmetic behind the linear probe.

Minimises mean cross-entropy + l2 / 2 * |weights|², the intercepts free, for several l2 at once.
The method is L-BFGS (Nocedal and Wright, algorithm 7.4) whose first guess of the Hessian is that
of equally uncertain rows (Böhning 1992): one eigenbasis of the features serves every penalty and
every step. A step of all penalties is two matrix products in the features' own precision; sums,
weights and the memory of past steps are float64.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MAX_STEPS = 1000
_MEMORY = 6  # past steps
_SMALL = 2**20  # numbers of a design that is lifted to float64, where that costs nothing
_ROWS_PER_FEATURE = 6  # so many rows make good moments; those of more cost time for nothing
_MOST_ROWS, _FEWEST_ROWS, _SCORES = 2048, 64, 2**22  # of a block of scores
_ROUNDING = 1e-6  # of the loss in float32, relative


@dataclass(frozen=True)
class LogisticProblem:
    """Design (features and a last column of ones), classes, and the design's second moments.

    The moments are given by eigenvalues and eigenvectors (columns); they need not be exact, as
    they only decide how soon the answer is reached. scikit-learn's `C` is
    1 / (l2 * number of rows).
    """

    design: Float[Tensor, "B E"]
    labels: Int[Tensor, " B"]
    num_classes: int
    eigenvalues: Float[Tensor, " E"]
    basis: Float[Tensor, "E E"]

    @classmethod
    def of(
        cls, values: Float[Tensor, "B D"], labels: Int[Tensor, " B"], num_classes: int
    ) -> LogisticProblem:
        """The problem of features that are standardised or nearly so."""
        design = with_ones(values.double() if values.numel() <= _SMALL else values)
        some = design[:: max(1, len(design) // (_ROWS_PER_FEATURE * design.shape[1]))]
        eigenvalues, basis = torch.linalg.eigh(some.T @ some / len(some))
        # The ridge keeps them positive where there are fewer rows than features.
        eigenvalues = eigenvalues.clamp_min(0) + 1e-7 * eigenvalues.sum()
        return cls(design, labels, num_classes, eigenvalues, basis)

    def moved_to(self, values: Float[Tensor, "B D"], labels: Int[Tensor, " B"]) -> LogisticProblem:
        """The problem of more rows like these, whose moments serve for them too."""
        design = with_ones(values.to(self.design.dtype))
        return LogisticProblem(design, labels, self.num_classes, self.eigenvalues, self.basis)

    def solve(
        self, l2: float, start: Float[Tensor, "E K"] | None = None, tolerance: float = 5e-4
    ) -> Float[Tensor, "E K"]:
        """The minimiser, float64, the intercepts in the last row; `start` is where to begin.

        `tolerance` bounds the Newton decrement: the loss is then within about tolerance² / 2 of
        the minimum. Raises `ValueError` when that is not reached.
        """
        starts = None if start is None else start.T[None]
        return _Path(self, (l2,), starts).minimise(tolerance)[0].T

    def solve_all(
        self, strengths: Sequence[float], tolerance: float = 5e-4
    ) -> Float[Tensor, "P E K"]:
        """The minimisers of several l2, found together; as `solve`."""
        return _Path(self, strengths, None).minimise(tolerance).transpose(1, 2)

    def loss(
        self, weights: Float[Tensor, "P K E"]
    ) -> tuple[Float[Tensor, " P"], Float[Tensor, "P K E"], Float[Tensor, " P"]]:
        """Mean cross-entropies without penalty, their gradients, and the mean curvatures."""
        flat = weights.flatten(0, 1).to(self.design.dtype)
        losses, squares = (weights.new_zeros(len(weights)) for _ in range(2))
        gradient = torch.zeros_like(flat)
        size = max(_FEWEST_ROWS, min(_MOST_ROWS, _SCORES // len(flat)))
        for rows, labels in zip(self.design.split(size), self.labels.split(size), strict=True):
            # Scores are P K B: this order, and that of the products, are the fast ones.
            scores = (flat @ rows.T).view(*weights.shape[:2], len(rows))
            scores -= scores.amax(dim=1, keepdim=True)
            right = labels.expand(len(weights), 1, -1)
            losses -= scores.gather(1, right).sum(dim=(1, 2), dtype=torch.float64)
            shares = scores.exp_()
            sums = shares.sum(dim=1, keepdim=True)
            losses += sums.log().sum(dim=(1, 2), dtype=torch.float64)
            shares /= sums
            squares += torch.linalg.vector_norm(shares, dim=(1, 2)).square()
            errors = shares.scatter_add_(1, right, shares.new_full((), -1.0).expand_as(right))
            gradient.addmm_(errors.flatten(0, 1), rows)
        num_rows, num_classes = len(self.design), self.num_classes
        # Of a row and class it is share * (1 - share); a row's sum to 1 - its sum of squares.
        curvature = (1 - squares / num_rows) / max(1, num_classes - 1)
        return losses / num_rows, gradient.view_as(weights).double() / num_rows, curvature


class _Path:
    """L-BFGS for several penalties in lockstep; those that have arrived leave."""

    def __init__(
        self, problem: LogisticProblem, strengths: Sequence[float], start: Tensor | None
    ) -> None:
        self.problem, self.strengths = problem, strengths
        shape = (len(strengths), problem.num_classes, problem.design.shape[1])
        given: Any = {"dtype": torch.float64, "device": problem.design.device}
        self.found = torch.zeros(shape, **given)
        self.penalties = torch.tensor(strengths, **given).view(-1, 1, 1).repeat(1, 1, shape[2])
        self.penalties[..., -1] = 0
        self.places = torch.arange(len(strengths), device=problem.design.device)
        self.weights = self.found.clone() if start is None else start.double().contiguous()
        if start is None:  # at zero all are alike: one evaluation is enough
            at_zero, num = problem.loss(self.weights[:1]), len(strengths)
            self.loss, self.gradient, self.curvature = (
                part.expand(num, *part.shape[1:]) for part in at_zero
            )
        else:
            self.loss, self.gradient, self.curvature = self._evaluate(self.weights)
        self.memory: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_MEMORY)

    def minimise(self, tolerance: float) -> Float[Tensor, "P K E"]:
        """All minimisers."""
        for _ in range(_MAX_STEPS):
            direction = self._direction()
            slope = _dot(self.gradient, direction)
            arrived = slope.flatten() <= tolerance**2
            if arrived.any():
                self.found[self.places[arrived]] = self.weights[arrived]
                if arrived.all():
                    return self.found
                self._keep(~arrived)
                direction, slope = direction[~arrived], slope[~arrived]
            self._step(direction, slope)
        weakest = self.strengths[int(self.places[-1])]
        raise ValueError(f"logistic regression did not converge at l2={weakest}: use a larger l2")

    def _step(self, direction: Tensor, slope: Tensor) -> None:
        """Go down along the direction, each penalty by a step of its own."""
        length = torch.ones_like(slope)
        while True:
            weights = self.weights - length * direction
            loss, gradient, curvature = self._evaluate(weights)
            change = (loss - self.loss).view_as(slope)
            enough = change <= -1e-4 * length * slope
            # Near the minimum the decrease drowns in rounding, but slopes still tell (Hager and
            # Zhang 2005).
            flat = _dot(gradient, direction) >= -0.8 * slope
            enough |= flat & (change <= _ROUNDING * self.loss.abs().view_as(slope))
            if enough.all() or length.min() < 1e-10:
                break
            length = torch.where(enough, length, length / 2)
        moved, bent = weights - self.weights, gradient - self.gradient
        product = _dot(moved, bent)
        inverse = torch.where(product > 0, 1 / product.clamp_min(1e-300), 0.0)
        self.memory.append((moved, bent, inverse))
        self.weights, self.loss, self.gradient, self.curvature = weights, loss, gradient, curvature

    def _direction(self) -> Tensor:
        """The gradient by the inverse Hessian as the past steps tell it."""
        direction, shares = self.gradient, []
        for moved, bent, inverse in reversed(self.memory):
            shares.append(inverse * _dot(moved, direction))
            direction = direction - shares[-1] * bent
        direction = self._solved(direction)
        if self.memory:
            _, bent, inverse = self.memory[-1]
            scale = inverse * _dot(bent, self._solved(bent))
            direction = direction / torch.where(scale > 0, scale, 1.0)
        for (moved, bent, inverse), share in zip(self.memory, reversed(shares), strict=True):
            direction = direction + (share - inverse * _dot(bent, direction)) * moved
        return direction

    def _solved(self, right: Tensor) -> Tensor:
        """By the Hessian as if all rows and classes were equally uncertain."""
        basis, kind = self.problem.basis, self.problem.basis.dtype
        scaled = self.curvature.view(-1, 1, 1).to(kind) * self.problem.eigenvalues
        scaled = scaled + self.penalties.to(kind) + 1e-12
        return ((right.to(kind) @ basis) / scaled @ basis.T).double()

    def _evaluate(self, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss, gradient, curvature = self.problem.loss(weights)
        decay = self.penalties * weights
        return loss + (decay * weights).sum(dim=(1, 2)) / 2, gradient + decay, curvature

    def _keep(self, chosen: Tensor) -> None:
        names = ("weights", "loss", "gradient", "curvature", "penalties", "places")
        for name in names:
            setattr(self, name, getattr(self, name)[chosen])
        kept = [tuple(part[chosen] for part in step) for step in self.memory]
        self.memory = deque(kept, maxlen=_MEMORY)  # type: ignore[arg-type]


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=(1, 2), keepdim=True)


def with_ones(values: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
    """The features and a last column of ones, for the intercepts."""
    return torch.cat([values, values.new_ones(len(values), 1)], dim=1)
