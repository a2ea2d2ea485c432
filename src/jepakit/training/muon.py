"""Muon: steps of equal length in all directions for the matrices of blocks, AdamW for the rest."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from jepakit.core.devices import Precision

# The quintic that drives singular values towards 1, tuned by Jordan et al. (2024) for few rounds.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 3
_MOMENTUM = 0.95
_TINY = 1e-7


class Muon(torch.optim.AdamW):
    """Groups with `orthogonal` take the momentum of their gradient, made orthogonal; others AdamW.

    Source: Jordan et al., "Muon", 2024. Steps are as long as AdamW's usually are (Liu et al., 2025:
    0.2 sqrt(larger side)), so learning rate and weight decay mean the same for both; the group's
    `scale` multiplies the rate. A step that `found_inf` marks as broken changes nothing, as in
    torch's own fused optimizers. `precision` is that of the products, not of the steps.
    """

    precision: Precision = "fp32"

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of every group."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["orthogonal"]]
        try:
            super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["orthogonal"]:
                self._orthogonal_step(group)

    def _orthogonal_step(self, group: dict[str, Any]) -> None:
        """All matrices of one shape together."""
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape.setdefault(parameter.shape, []).append(parameter)
        broken: Tensor | None = getattr(self, "found_inf", None)
        for shape, parameters in by_shape.items():
            steps = orthogonal(self._directions(parameters, broken), self.precision)
            rate = group["scale"] * group["lr"]
            length = 0.2 * max(shape) ** 0.5 * rate
            kept: float | Tensor = 1 - rate * group["weight_decay"]
            if broken is not None:
                steps = torch.where(broken > 0, 0, steps)
                kept = torch.where(broken > 0, 1, kept)
            for parameter, step in zip(parameters, steps, strict=True):
                parameter.mul_(kept).sub_(step, alpha=length)

    def _directions(
        self, parameters: list[Tensor], broken: Tensor | None = None
    ) -> Float[Tensor, "K M N"]:
        """Nesterov's momentum of the gradients, which is kept in the state."""
        directions = []
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if not state:
                state["step"] = torch.zeros(())  # AdamW expects one of every parameter
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"]
            if broken is not None:
                gradient = torch.where(broken > 0, momentum, gradient)  # leaves it as it is
            momentum.lerp_(gradient, 1 - _MOMENTUM)
            state["step"] += 1
            directions.append(gradient.lerp(momentum, _MOMENTUM))
        return torch.stack(directions)


def orthogonal(
    matrices: Float[Tensor, "K M N"], precision: Precision = "fp32"
) -> Float[Tensor, "K M N"]:
    """Matrices with the same singular vectors, and singular values near 1 (within about 0.3).

    Newton-Schulz iterations, for which bf16 is accurate enough.
    """
    a, b, c = _QUINTIC
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    wide = (matrices.mT if is_tall else matrices).contiguous()
    found = wide.bfloat16() if precision == "bf16" else wide.float()
    found = found / (found.norm(dim=(-2, -1), keepdim=True) + _TINY)
    for _ in range(_ROUNDS):
        squares = torch.bmm(found, found.mT)
        factors = torch.baddbmm(squares, squares, squares, beta=b, alpha=c)
        found = torch.baddbmm(found, factors, found, beta=a)
    found = found.to(matrices.dtype)
    return found.mT if is_tall else found
