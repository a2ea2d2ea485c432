"""Where each token looks: the attention weights of an encoder's last layers."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepakit.models.encoder import Encoder


@torch.no_grad()
def attention_weights(
    encoder: Encoder, views: Float[Tensor, "B C H W"], num_layers: int
) -> list[Float[Tensor, "B A N N"]]:
    """Of each of the last layers, in order: how much each token (third axis) takes of each other.

    The weights are computed beside the network, from what its projections give: the network itself
    uses fused kernels, which never hold them.
    """
    found: list[Tensor] = []

    def keep(module: nn.Module, given: Any, projected: Tensor) -> None:
        query, key, _ = projected.unflatten(-1, (3, encoder.num_heads, -1)).permute(2, 0, 3, 1, 4)
        scores = query.float() @ key.float().transpose(-2, -1)
        found.append(torch.softmax(scores * query.shape[-1] ** -0.5, dim=-1))

    hooks = [
        block.attn.qkv.register_forward_hook(keep)  # type: ignore[union-attr]
        for block in list(encoder.blocks)[-num_layers:]
    ]
    try:
        encoder(views)
    finally:
        for hook in hooks:
            hook.remove()
    return found
