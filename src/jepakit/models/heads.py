"""Heads that read classes off frozen tokens: attention with one learned query, then linear."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.models.initialisation import STANDARD_DEVIATION

_WIDTH_PER_HEAD = 64


class AttentivePooling(nn.Module):
    """One vector per picture: multi-head attention of one learned query over normed tokens."""

    def __init__(self, width: int, num_heads: int | None = None) -> None:
        super().__init__()
        self.num_heads = default_heads(width) if num_heads is None else num_heads
        if width % self.num_heads:
            raise ValueError(
                f"a width of {width} does not divide into {self.num_heads} heads: "
                f"set num_heads={default_heads(width)}"
            )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.query = nn.Parameter(torch.empty(self.num_heads, width // self.num_heads))
        self.key = nn.Linear(width, width, bias=False)  # a bias would change no softmax
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        nn.init.trunc_normal_(self.query, std=STANDARD_DEVIATION)
        for layer in (self.key, self.value, self.proj):
            nn.init.trunc_normal_(layer.weight, std=width**-0.5)
        for layer in (self.value, self.proj):
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
        """The pooled tokens of each picture."""
        return pool_together([self], tokens)[0]


class AttentiveHead(nn.Module):
    """Attentive pooling, a norm and a linear classifier (V-JEPA's probe without its MLP)."""

    def __init__(self, width: int, num_classes: int, num_heads: int | None = None) -> None:
        super().__init__()
        self.pooling = AttentivePooling(width, num_heads)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.linear = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=STANDARD_DEVIATION)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B K"]:
        """A score per class."""
        return score_together([self], tokens)[0]


def score_together(
    heads: Sequence[AttentiveHead], tokens: Float[Tensor, "B N D"]
) -> Float[Tensor, "S B K"]:
    """The scores that S heads of one shape give to the same tokens."""
    pooled = pool_together([head.pooling for head in heads], tokens)
    normed = F.layer_norm(pooled, pooled.shape[-1:], eps=heads[0].norm.eps)
    weight = torch.stack([head.norm.weight for head in heads])[:, None]
    bias = torch.stack([head.norm.bias for head in heads])[:, None]
    return _linear([head.linear for head in heads], normed * weight + bias)


def pool_together(
    poolings: Sequence[AttentivePooling], tokens: Float[Tensor, "B N D"]
) -> Float[Tensor, "S B D"]:
    """The vectors that S poolings of one shape make of the same tokens.

    Since the query is one, a key times the query is a token times one vector per head, and the
    mean of values is the value of a mean: neither keys nor values of single tokens are computed.
    That saves a factor of about width / heads, and all poolings share two products.
    """
    first = poolings[0]
    width, num_heads = tokens.shape[-1], first.num_heads
    normed = F.layer_norm(tokens, (width,), eps=first.norm.eps)
    scale = torch.stack([p.norm.weight for p in poolings])[:, None]  # S 1 D
    shift = torch.stack([p.norm.bias for p in poolings])[:, None]
    query = torch.stack([p.query for p in poolings]) * (width // num_heads) ** -0.5  # S A E
    keys = torch.stack([p.key.weight for p in poolings]).unflatten(1, (num_heads, -1))  # S A E D
    directions = torch.einsum("sae,saed->sad", query, keys) * scale
    scores = normed @ directions.flatten(0, 1).to(normed.dtype).T  # B N SA
    shares = scores.float().softmax(dim=1).to(normed.dtype)
    means = (shares.transpose(1, 2) @ normed).unflatten(1, (-1, num_heads))  # B S A D
    means = means * scale + shift
    values = torch.stack([p.value.weight for p in poolings]).unflatten(1, (num_heads, -1))
    mixed = torch.einsum("bsad,saed->sbae", means, values.to(means.dtype)).flatten(2)  # S B D
    mixed = mixed + torch.stack([p.value.bias for p in poolings])[:, None]
    return _linear([p.proj for p in poolings], mixed)


def default_heads(width: int) -> int:
    """About one attention head per 64 numbers of the width, and a divisor of it."""
    wanted = max(1, width // _WIDTH_PER_HEAD)
    return max(number for number in range(1, wanted + 1) if width % number == 0)


def _linear(layers: Sequence[nn.Linear], inputs: Float[Tensor, "S B D"]) -> Float[Tensor, "S B K"]:
    """Each layer on its own inputs."""
    weight = torch.stack([layer.weight for layer in layers])  # S K D
    bias = torch.stack([layer.bias for layer in layers])
    return torch.baddbmm(bias[:, None], inputs, weight.transpose(1, 2))
