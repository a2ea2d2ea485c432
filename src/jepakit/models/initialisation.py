"""How weights start: by the fan-in, or as in the released recipe and what that recipe intended."""

from math import pi
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepakit.models.transformer import Block, Blocks

Initialisation = Literal["fan_in", "smooth", "released", "depth_rescaled"]
STANDARD_DEVIATION = 0.02


def initialise(network: nn.Module, recipe: Initialisation) -> None:
    """Truncated-normal weights, zero biases.

    `fan_in`: deviation 1 / sqrt(3 inputs), cut at twice that. `smooth`: the same, but the filters
    of patches are as smooth as pictures are. `released`: 0.02 everywhere, cut at 2; nearly the same
    as `fan_in` for 768 inputs (ViT-B), but too weak for narrow networks. `depth_rescaled`: as
    released, and block I's `attn.proj` and `mlp.fc2` divided by sqrt(2 (I + 1)).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            if recipe in ("fan_in", "smooth"):
                std = (3 * module.weight[0].numel()) ** -0.5
                nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            else:
                nn.init.trunc_normal_(module.weight, std=STANDARD_DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if recipe == "smooth":
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                _smooth(module.weight)
    if recipe == "depth_rescaled":
        for blocks in (m for m in network.modules() if isinstance(m, Blocks)):
            _rescale(blocks)


@torch.no_grad()
def _smooth(filters: Float[Tensor, "D C H W"]) -> None:
    """Weaken each cosine wave of the filters by the square root of its frequency, in place.

    The variance of a picture's waves falls with about the fourth power of their frequency, so
    filters of white noise spend most of themselves on waves that pictures hardly have. Tokens of
    pictures keep about the variance that `fan_in` gives them.
    """
    rows, columns = (_cosines(side).to(filters) for side in filters.shape[2:])
    squares = [torch.arange(len(waves)).to(filters).square() for waves in (rows, columns)]
    frequency = 1 + squares[0][:, None] + squares[1]
    gain, pictures = frequency**-0.5, frequency**-2.0
    gain *= (pictures.mean() / (gain.square() * pictures).mean()) ** 0.5
    filters.copy_(rows.T @ ((rows @ filters @ columns.T) * gain) @ columns)


def _cosines(length: int) -> Float[Tensor, "L L"]:
    """The orthonormal waves of the cosine transform (DCT-II), one per row, slow ones first."""
    angles = [[pi * (2 * x + 1) * u / (2 * length) for x in range(length)] for u in range(length)]
    table = torch.tensor(angles).cos() * (2 / length) ** 0.5
    table[0] *= 0.5**0.5
    return table


@torch.no_grad()
def _rescale(blocks: Blocks) -> None:
    for place, block in enumerate(blocks):
        assert isinstance(block, Block)
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.div_((2 * (place + 1)) ** 0.5)
