"""The exponential moving average by which a target network follows another."""

import torch
from torch import nn


@torch.no_grad()
def follow(target: nn.Module, source: nn.Module, coefficient: float) -> None:
    """target = coefficient * target + (1 - coefficient) * source, fused over all parameters."""
    targets: list[torch.Tensor] = list(target.parameters())
    sources: list[torch.Tensor] = list(source.parameters())
    assert len(targets) == len(sources), "target and source must be the same network"
    torch._foreach_lerp_(targets, sources, 1.0 - coefficient)
