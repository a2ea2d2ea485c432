"""Our encoder computes what `IJepaModel` of Hugging Face transformers computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import IJepaConfig, IJepaModel

from jepakit.models import Encoder

WIDTH, DEPTH, HEADS, PATCH, SIDE = 32, 3, 4, 8, 32
# Names of layers in one block: ours, then theirs (their q, k, v are three layers).
BLOCK = {
    "norm1": "layernorm_before",
    "attn.proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def random_encoder(width: int, heads: int) -> Encoder:
    """Every parameter random and far from its initial value, norms and biases too."""
    torch.manual_seed(0)
    settings = Encoder.Settings(size=None, width=width, depth=DEPTH, num_heads=heads, patch=PATCH)
    encoder = Encoder(settings, 3, (SIDE, SIDE))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return encoder


def named_as_theirs(state: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs = {"embeddings.position_embeddings": state["pos_embed"]}
    for kind in ("weight", "bias"):
        theirs[f"embeddings.patch_embeddings.projection.{kind}"] = state[f"patch_embed.proj.{kind}"]
        theirs[f"layernorm.{kind}"] = state[f"norm.{kind}"]
        for place in range(DEPTH):
            block, layer = f"blocks.{place}", f"layers.{place}"
            for our_name, their_name in BLOCK.items():
                theirs[f"{layer}.{their_name}.{kind}"] = state[f"{block}.{our_name}.{kind}"]
            parts = state[f"{block}.attn.qkv.{kind}"].chunk(3)
            for letter, part in zip("qkv", parts, strict=True):
                theirs[f"{layer}.attention.{letter}_proj.{kind}"] = part
    return theirs


@pytest.fixture(scope="module")
def pair() -> tuple[Encoder, IJepaModel]:
    encoder = random_encoder(WIDTH, HEADS)
    config = IJepaConfig(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        image_size=SIDE,
        patch_size=PATCH,
        layer_norm_eps=1e-6,
    )
    model = IJepaModel(config).eval()
    model.load_state_dict(named_as_theirs(encoder.state_dict()), strict=True)
    return encoder, model


@pytest.mark.parametrize("size", [(SIDE, SIDE), (48, 48), (24, 40)], ids=str)
@torch.no_grad()
def test_last_layer_and_pooled_features_agree(
    pair: tuple[Encoder, IJepaModel], size: tuple[int, int]
) -> None:
    encoder, model = pair
    views = torch.randn(2, 3, *size)
    theirs = model(views, interpolate_pos_encoding=size != (SIDE, SIDE)).last_hidden_state
    ours = encoder(views)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(encoder.pooled(views), theirs.mean(dim=1), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_every_layer_agrees(pair: tuple[Encoder, IJepaModel]) -> None:
    encoder, model = pair
    views = torch.randn(2, 3, SIDE, SIDE)
    theirs = model(views, output_hidden_states=True).hidden_states[-DEPTH:]
    ours = encoder.last_layers(views, DEPTH)
    assert len(ours) == len(theirs) == DEPTH
    for one, other in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
