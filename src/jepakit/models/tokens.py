"""Choosing tokens by index."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def take_tokens(tokens: Float[Tensor, "B N D"], indices: Int[Tensor, "B *K"]) -> Tensor:  # noqa: F821
    """The tokens at `indices` of each image, shape B *K D. A row gather on whole tokens."""
    num_images, num_tokens, width = tokens.shape
    first = torch.arange(num_images, device=tokens.device) * num_tokens
    rows = indices + first.view(-1, *[1] * (indices.ndim - 1))
    return tokens.reshape(-1, width).index_select(0, rows.flatten()).view(*indices.shape, width)
