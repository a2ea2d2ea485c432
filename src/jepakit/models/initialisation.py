"""How weights start: by the fan-in, or as in the released recipe and what that recipe intended."""

from typing import Literal

import torch
from torch import nn

from jepakit.models.transformer import Block, Blocks

Initialisation = Literal["fan_in", "released", "depth_rescaled"]
STANDARD_DEVIATION = 0.02


def initialise(network: nn.Module, recipe: Initialisation) -> None:
    """Truncated-normal weights, zero biases.

    `fan_in`: deviation 1 / sqrt(3 inputs), cut at twice that. `released`: 0.02 everywhere, cut at
    2; nearly the same for 768 inputs (ViT-B), but too weak for narrow networks. `depth_rescaled`:
    as released, and block I's `attn.proj` and `mlp.fc2` divided by sqrt(2 (I + 1)).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            if recipe == "fan_in":
                std = (3 * module.weight[0].numel()) ** -0.5
                nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            else:
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
