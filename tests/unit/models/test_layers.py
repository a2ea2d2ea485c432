"""The parts that both networks are made of, each against a plain way to compute it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jepakit.models.initialisation import initialise
from jepakit.models.patches import PatchEmbedding, as_pair
from jepakit.models.positions import resample_positions, sine_cosine_positions
from jepakit.models.tokens import take_tokens
from jepakit.models.transformer import Attention, Block, Blocks, attend


def test_tokens_are_taken_by_index() -> None:
    tokens, indices = torch.randn(2, 6, 4), torch.randint(6, (2, 3, 5))
    taken = take_tokens(tokens, indices)
    assert taken.shape == (2, 3, 5, 4)
    for image in range(2):
        for block in range(3):
            for place in range(5):
                expected = tokens[image, indices[image, block, place]]
                assert torch.equal(taken[image, block, place], expected)
    assert torch.equal(take_tokens(tokens, indices[:, 0]), taken[:, 0])


def test_gradients_of_taken_tokens_add_up() -> None:
    tokens = torch.randn(1, 4, 2, requires_grad=True)
    take_tokens(tokens, torch.tensor([[2, 2, 0]])).sum().backward()
    assert tokens.grad[0, :, 0].tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("patch", [(4, 4), (2, 8)], ids=str)
def test_patches_are_a_convolution(patch: tuple[int, int]) -> None:
    embedding, views = PatchEmbedding(patch, 3, 10), torch.randn(2, 3, 8, 16)
    expected = embedding.proj(views).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embedding(views), expected, rtol=1e-5, atol=1e-5)
    indices = torch.tensor([[3, 0], [1, 7]])
    found = embedding(views, indices)
    torch.testing.assert_close(found, take_tokens(expected, indices), rtol=1e-5, atol=1e-5)


def test_patches_refuse_what_does_not_divide() -> None:
    embedding = PatchEmbedding((4, 8), 3, 10)
    assert embedding.grid(8, 16) == (2, 2)
    with pytest.raises(ValueError, match="multiple of the patch"):
        embedding.grid(8, 12)
    assert as_pair(3) == (3, 3)
    assert as_pair((3, 4)) == (3, 4)


def test_positions_tell_all_places_apart() -> None:
    codes = sine_cosine_positions((14, 14), 64)
    distances = torch.cdist(codes, codes) + 10 * torch.eye(196)
    assert distances.min() > 0.3
    with pytest.raises(ValueError, match="choose a multiple of 4"):
        sine_cosine_positions((2, 2), 6)


def test_resampled_positions_are_near_those_of_the_same_places() -> None:
    codes = sine_cosine_positions((8, 12), 16)
    assert resample_positions(codes, (8, 12), (8, 12)) is codes
    finer = resample_positions(codes, (8, 12), (24, 36))
    assert finer.shape == (24 * 36, 16)
    # The centre of every third cell of a grid three times as fine lies on the old centre.
    matched = finer.view(24, 36, 16)[1::3, 1::3].reshape(-1, 16)
    torch.testing.assert_close(matched, codes, rtol=0, atol=1e-5)
    assert resample_positions(codes, (8, 12), (4, 20)).shape == (80, 16)


def test_attention_is_the_formula() -> None:
    torch.manual_seed(0)
    attention, tokens = Attention(8, 2), torch.randn(2, 5, 8)
    query, key, value = attention.qkv(tokens).chunk(3, dim=-1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = query[..., head] @ key[..., head].transpose(1, 2) / math.sqrt(4)
        heads.append(scores.softmax(dim=-1) @ value[..., head])
    expected = attention.proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(tokens), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="width of 8 does not divide into 3 heads"):
        Attention(8, 3)


def test_attention_in_bf16_is_the_same_but_for_rounding() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 16) for _ in range(3))
    exact = F.scaled_dot_product_attention(query, key, value)
    rough = attend(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.03)


def test_a_block_is_pre_norm_with_residuals() -> None:
    torch.manual_seed(0)
    block, tokens = Block(8, 2, 4.0), torch.randn(2, 5, 8)
    middle = tokens + block.attn(block.norm1(tokens))
    hidden = block.mlp.fc1(block.norm2(middle))
    exact_gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    torch.testing.assert_close(block(tokens), middle + block.mlp.fc2(exact_gelu))
    assert block.norm1.eps == block.norm2.eps == 1e-6
    assert block.mlp.fc1.out_features == 32


def test_a_stack_gives_its_last_layers_in_order() -> None:
    torch.manual_seed(0)
    blocks, tokens = Blocks(4, 8, 2, 2.0), torch.randn(1, 3, 8)
    expected = [tokens]
    for block in blocks:
        expected.append(block(expected[-1]))
    for num_layers, num_found in ((1, 1), (3, 3), (9, 4)):
        found = blocks.last_layers(tokens, num_layers)
        assert len(found) == num_found
        assert all(map(torch.equal, found, expected[-num_found:]))
    assert torch.equal(blocks(tokens), expected[-1])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(PatchEmbedding((8, 8), 3, 64), Blocks(3, 64, 2, 4.0), nn.LayerNorm(64))


def test_released_initialisation() -> None:
    built = network()
    initialise(built, "released")
    for module in built.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert module.weight.mean().abs() < 0.002
            assert not module.bias.any()
        if isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all()
            assert not module.bias.any()


def test_fan_in_initialisation_keeps_the_scale_of_what_passes_through() -> None:
    built = network()
    initialise(built, "fan_in")
    for module in built.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            num_inputs = module.weight[0].numel()
            # A normal cut at two deviations keeps 0.880 of its deviation.
            expected = 0.880 * (3 * num_inputs) ** -0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)
            assert module.weight.abs().max() <= 2 * (3 * num_inputs) ** -0.5
            assert not module.bias.any()


@pytest.mark.parametrize("shape", [(8, 8), (4, 16)])
def test_smooth_filters_answer_to_slow_waves_as_strongly_as_pictures_need(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    rough, smooth = nn.Conv2d(3, 512, shape), nn.Conv2d(3, 512, shape)
    initialise(rough, "fan_in")
    torch.manual_seed(0)
    initialise(smooth, "smooth")
    flat = torch.ones(shape)
    fine = (-1.0) ** (torch.arange(shape[0])[:, None] + torch.arange(shape[1]))

    def ratio(conv: nn.Conv2d) -> float:
        answers = [(conv.weight * wave).sum((2, 3)).std().item() for wave in (flat, fine)]
        return answers[0] / answers[1]

    assert ratio(rough) == pytest.approx(1, rel=0.1)
    assert ratio(smooth) > 6
    slow = torch.randn(64, 3, 1, 1).expand(-1, -1, *shape)  # what pictures mostly are
    tokens = [conv(slow).flatten().std().item() for conv in (rough, smooth)]
    assert 0.5 < tokens[1] / tokens[0] < 1.5
    linear = nn.Linear(7, 5)
    torch.manual_seed(1)
    initialise(linear, "smooth")
    other = nn.Linear(7, 5)
    torch.manual_seed(1)
    initialise(other, "fan_in")
    assert torch.equal(linear.weight, other.weight)


def test_depth_rescaled_initialisation_shrinks_residual_branches() -> None:
    plain, rescaled = network(), network()
    for built, recipe in ((plain, "released"), (rescaled, "depth_rescaled")):
        torch.manual_seed(1)
        initialise(built, recipe)
    for place in range(3):
        one, other = plain[1][place], rescaled[1][place]
        for layer in ("attn.proj", "mlp.fc2"):
            ratio = one.get_submodule(layer).weight / other.get_submodule(layer).weight
            torch.testing.assert_close(ratio, torch.full_like(ratio, (2 * (place + 1)) ** 0.5))
        for layer in ("attn.qkv", "mlp.fc1"):
            weights = (block.get_submodule(layer).weight for block in (one, other))
            assert torch.equal(*weights)
