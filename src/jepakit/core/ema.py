"""The exponential moving average by which a target network follows another."""

import torch
from torch import nn

from jepakit.core.shards import local_part


@torch.no_grad()
def follow(target: nn.Module, source: nn.Module, coefficient: float) -> None:
    """target = coefficient * target + (1 - coefficient) * source, fused over all parameters.

    Networks that are spread over processes must be spread alike: each process moves its own part.
    """
    targets = [local_part(parameter) for parameter in target.parameters()]
    sources = [local_part(parameter) for parameter in source.parameters()]
    assert len(targets) == len(sources), "target and source must be the same network"
    torch._foreach_lerp_(targets, sources, 1.0 - coefficient)
