"""Multinomial logistic regression, solved exactly: the arithmetic behind the linear probe.

Minimises mean cross-entropy + l2 / 2 * |weights|², the intercepts free, by Newton's method. The
loss and its gradient are computed in float64, so the answer is exact. The Newton direction comes
from conjugate gradients in the features' own precision, where most of the time goes: it only
decides how soon the answer is reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

_MAX_NEWTON_STEPS = 100
_MAX_DIRECTION_STEPS = 500
_ROWS = 8192  # rows that are held in float64 at a time


@dataclass(frozen=True)
class LogisticProblem:
    """Design (features and a last column of ones), classes, and the design's second moments.

    scikit-learn's `C` is 1 / (l2 * number of rows).
    """

    design: Float[Tensor, "B E"]
    labels: Int[Tensor, " B"]
    num_classes: int
    moments: Float[Tensor, "E E"]

    @classmethod
    def of(
        cls, values: Float[Tensor, "B D"], labels: Int[Tensor, " B"], num_classes: int
    ) -> LogisticProblem:
        """The problem of features that are standardised or nearly so."""
        design = with_ones(values)
        return cls(design, labels, num_classes, (design.T @ design / len(design)).double())

    def start(self) -> Float[Tensor, "E K"]:
        """Weights of zero, the intercepts in the last row."""
        return self.moments.new_zeros(self.design.shape[1], self.num_classes)

    def solve(
        self, l2: float, start: Float[Tensor, "E K"], tolerance: float = 1e-6
    ) -> Float[Tensor, "E K"]:
        """The minimiser, float64, the intercepts in the last row.

        `tolerance` bounds the Newton decrement: the loss is then within tolerance² / 2 of the
        minimum. Raises `ValueError` when that is not reached.
        """
        penalty = torch.full_like(start[:, :1], l2)
        penalty[-1] = 0
        weights = start
        loss, gradient, shares = self._loss(weights, penalty)
        factored = torch.inf
        for _ in range(_MAX_NEWTON_STEPS):
            uncertainty = (shares * (1 - shares)).mean().item()
            if not factored / 2 < uncertainty < factored * 2:
                factor, factored = self._preconditioner(uncertainty, penalty), uncertainty
            direction = self._direction(gradient, shares, penalty, factor, tolerance)
            if direction is None:
                return weights
            slope, step = (gradient * direction).sum(), 1.0
            while True:
                trial = weights + step * direction
                new_loss, gradient, shares = self._loss(trial, penalty)
                # 1e-14: near the minimum the decrease drowns in rounding.
                if new_loss <= loss + 1e-4 * step * slope + 1e-14 * loss.abs():
                    break
                step /= 2
            weights, loss = trial, new_loss
        raise ValueError(f"logistic regression did not converge at l2={l2}: use a larger l2")

    def _loss(self, weights: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, gradient, and each row's share per class (in the design's precision)."""
        loss, gradient = weights.new_zeros(()), torch.zeros_like(weights)
        shares = []
        for rows, labels in zip(self.design.split(_ROWS), self.labels.split(_ROWS), strict=True):
            rows = rows.double()
            scores = rows @ weights
            loss = loss + F.cross_entropy(scores, labels, reduction="sum")
            share = scores.softmax(dim=1)
            shares.append(share.to(self.design.dtype))
            gradient += rows.T @ (share - F.one_hot(labels, self.num_classes))
        size = len(self.design)
        decay = (penalty * weights.square()).sum() / 2
        return loss / size + decay, gradient / size + penalty * weights, torch.cat(shares)

    def _direction(
        self, gradient: Tensor, shares: Tensor, penalty: Tensor, factor: Tensor, tolerance: float
    ) -> Tensor | None:
        """The Newton direction by preconditioned conjugate gradients; None at the minimum."""
        residual = -gradient
        ready = torch.cholesky_solve(residual, factor)
        product = (residual * ready).sum()
        decrement = product.sqrt().item()
        if decrement <= tolerance:
            return None
        # Loose far from the minimum, tight near it: superlinear convergence (Nash 2000).
        goal = min(0.1, decrement**0.5) * decrement
        direction, search = torch.zeros_like(gradient), ready
        for _ in range(_MAX_DIRECTION_STEPS):
            curved = self._curvature(search, shares) + penalty * search
            length = product / (search * curved).sum()
            direction = direction + length * search
            residual = residual - length * curved
            ready = torch.cholesky_solve(residual, factor)
            previous, product = product, (residual * ready).sum()
            if product.sqrt().item() <= goal:
                break
            search = ready + product / previous * search
        return direction

    def _curvature(self, search: Tensor, shares: Tensor) -> Tensor:
        """The product of the cross-entropy's Hessian with `search`."""
        change = shares * (self.design @ search.to(self.design.dtype))
        change = change - shares * change.sum(dim=1, keepdim=True)
        return (self.design.T @ change).double() / len(self.design)

    def _preconditioner(self, uncertainty: float, penalty: Tensor) -> Tensor:
        """Cholesky factor of the Hessian as if all rows and classes were equally uncertain."""
        # The ridge keeps it positive where rounding of the moments, or more features than rows,
        # would not; the trace bounds their largest eigenvalue.
        ridge = 1e-7 * self.moments.trace()
        diagonal = penalty.squeeze(1) + uncertainty * ridge + 1e-12
        return torch.linalg.cholesky(uncertainty * self.moments + diagonal.diag())


def with_ones(values: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
    """The features and a last column of ones, for the intercepts."""
    return torch.cat([values, values.new_ones(len(values), 1)], dim=1)
