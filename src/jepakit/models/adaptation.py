"""Weights of one architecture for another: patches of another size, another number of channels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def adapt_channels(weight: Float[Tensor, "D C h w"], num_channels: int) -> Tensor:
    """A patch projection D C' h w for another number of channels.

    A picture whose channels are all alike gives the same token as before. Channels that both have
    keep their weights if channels are added; a new one, or any if there are fewer, gets the mean.
    """
    old = weight.shape[1]
    if num_channels == old:
        return weight
    mean = weight.mean(dim=1, keepdim=True)
    kept = weight if num_channels > old else weight[:, :0]
    added = mean.expand(-1, num_channels - kept.shape[1], -1, -1)
    return torch.cat([kept, added], dim=1) * (old / num_channels)


def resize_patches(weight: Float[Tensor, "D C h w"], patch: tuple[int, int]) -> Tensor:
    """A patch projection D C h' w' for patches of another size (Beyer et al. 2023, section 3.4).

    The weights by which a patch that is resized bilinearly gives the token that it gave before: for
    larger patches exactly, for smaller ones as nearly as possible.
    """
    old = (weight.shape[2], weight.shape[3])
    if patch == old:
        return weight
    num_pixels = old[0] * old[1]
    units = torch.eye(num_pixels, dtype=torch.float64).view(num_pixels, 1, *old)
    resized = F.interpolate(units, size=patch, mode="bilinear").view(num_pixels, -1)
    flat = weight.double().cpu().flatten(2)  # D C pixels
    new = flat @ torch.linalg.pinv(resized).T
    return new.view(*weight.shape[:2], *patch).to(weight)
