"""Terms on average-pooled context tokens that keep representations from collapsing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from jepakit.core import settings as core
from jepakit.core.distributed import gather_rows


class RegulariserSettings(core.Settings):
    """Which term, and its weight beside the prediction loss."""

    kind: Literal["none", "vicreg", "sigreg"] = Field(
        "none", description="none: the paper; vicreg: variance + covariance; sigreg: LeJEPA"
    )
    weight: float = Field(0.05, ge=0, description="beside the prediction loss")
    covariance: float = Field(1.0, ge=0, description="vicreg: covariance beside variance")
    num_directions: int = Field(256, ge=1, description="sigreg: random projections per step")


def variance(pooled: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """How far below 1 each feature's standard deviation is, on average (VICReg, eq. 1)."""
    deviation = (pooled.var(dim=0) + 1e-4).sqrt()
    return F.relu(1 - deviation).mean()


def covariance(pooled: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Sum of squared off-diagonal covariances per feature (VICReg, eq. 4)."""
    num_rows, width = pooled.shape
    centred = pooled - pooled.mean(dim=0)
    matrix = centred.T @ centred / (num_rows - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / width


def gaussianity(pooled: Float[Tensor, "B D"], num_directions: int) -> Float[Tensor, ""]:
    """Epps-Pulley distance to a standard normal along random directions (SIGReg, LeJEPA).

    Directions come from torch's global generator, which the trainer seeds alike on all processes.
    """
    directions = F.normalize(
        torch.randn(pooled.shape[1], num_directions, device=pooled.device), dim=0
    )
    points = torch.linspace(-5, 5, 17, device=pooled.device)
    normal = (-0.5 * points.square()).exp()
    angles = (pooled @ directions)[..., None] * points  # B directions points
    distance = (angles.cos().mean(dim=0) - normal).square() + angles.sin().mean(dim=0).square()
    return torch.trapezoid(distance * normal, points).mean() * len(pooled)


def regulariser(settings: RegulariserSettings) -> Callable[[Tensor], Tensor] | None:
    """The chosen term as a function of pooled rows (B D) of *this* process; None for the paper."""
    if settings.kind == "none" or settings.weight == 0:
        return None

    def term(pooled: Tensor) -> Tensor:
        with torch.autocast(pooled.device.type, enabled=False):
            everywhere = gather_rows(pooled.float())
            if len(everywhere) < 2:
                raise ValueError(
                    "a regulariser needs at least 2 pictures per micro-batch: "
                    "raise batch.size or set objective.regulariser.kind=none"
                )
            if settings.kind == "vicreg":
                return variance(everywhere) + settings.covariance * covariance(everywhere)
            return gaussianity(everywhere, settings.num_directions)

    return term
