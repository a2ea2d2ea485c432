"""How weights start: the released recipe, and the depth-rescaled one that it intended."""

from typing import Literal

import torch
from torch import nn

from jepakit.models.transformer import Block, Blocks

Initialisation = Literal["released", "depth_rescaled"]
STANDARD_DEVIATION = 0.02


def initialise(network: nn.Module, recipe: Initialisation) -> None:
    """Truncated-normal weights (std 0.02), zero biases; `depth_rescaled` shrinks residual branches.

    The released recipe trains without the rescaling that divides block I's `attn.proj` and
    `mlp.fc2` by sqrt(2 (I + 1)).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=STANDARD_DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if recipe == "depth_rescaled":
        for blocks in (m for m in network.modules() if isinstance(m, Blocks)):
            _rescale(blocks)


@torch.no_grad()
def _rescale(blocks: Blocks) -> None:
    for place, block in enumerate(blocks):
        assert isinstance(block, Block)
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.div_((2 * (place + 1)) ** 0.5)
