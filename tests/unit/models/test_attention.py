"""Attention weights beside the network are those that the network uses."""

import torch

from jepakit.models import Encoder
from jepakit.models.attention import attention_weights


def test_the_weights_give_what_the_network_computes() -> None:
    torch.manual_seed(0)
    settings = Encoder.Settings(size=None, width=16, depth=3, num_heads=2, patch=8)
    encoder = Encoder(settings, 3, (32, 24)).eval()
    views = torch.randn(2, 3, 32, 24)
    found = attention_weights(encoder, views, 2)
    assert [tuple(weights.shape) for weights in found] == [(2, 2, 12, 12)] * 2
    torch.testing.assert_close(found[1].sum(dim=-1), torch.ones(2, 2, 12))
    block = encoder.blocks[2]
    tokens = block.norm1(encoder.last_layers(views, 2)[0])
    value = block.attn.qkv(tokens).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)[2]
    mixed = block.attn.proj((found[1] @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixed, block.attn(tokens), atol=1e-5, rtol=1e-4)
    assert all(not one._forward_hooks for one in encoder.modules())
