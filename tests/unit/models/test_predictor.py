"""The predictor: sequences of their own, places that matter, any number of blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jepakit.models import Encoder, Predictor

GRID = (4, 6)
CONTEXT = torch.tensor([[[0, 1, 5], [2, 3, 4]], [[6, 7, 8], [9, 20, 21]]])  # B 2, J 2, K 3
TARGETS = torch.tensor([[[10, 11], [16, 17], [22, 23]], [[12, 13], [18, 19], [0, 1]]])  # M 3, L 2


def tiny(**settings: object) -> Predictor:
    torch.manual_seed(0)
    encoder = Encoder(
        Encoder.Settings(size=None, width=16, depth=1, num_heads=2, patch=4), 3, (16, 24)
    )
    return Predictor(Predictor.Settings(**{"width": 8, "depth": 2, **settings}), encoder)


@pytest.fixture
def context() -> Tensor:
    return torch.randn(2, 2, 3, 16, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_one_prediction_per_context_target_and_place(context: Tensor) -> None:
    predicted = tiny()(context, CONTEXT, TARGETS)
    assert predicted.shape == (2, 2, 3, 2, 16)
    assert (predicted.flatten(0, 3).std(dim=0) > 0).all()


@torch.no_grad()
def test_target_blocks_never_see_each_other(context: Tensor) -> None:
    predictor = tiny()
    predicted = predictor(context, CONTEXT, TARGETS)
    moved = TARGETS.clone()
    moved[:, 1] = torch.tensor([14, 15])
    changed = predictor(context, CONTEXT, moved)
    assert torch.equal(changed[:, :, [0, 2]], predicted[:, :, [0, 2]])
    assert not torch.allclose(changed[:, :, 1], predicted[:, :, 1], atol=1e-6)
    alone = predictor(context, CONTEXT, TARGETS[:, 2:])
    torch.testing.assert_close(alone[:, :, 0], predicted[:, :, 2])


@torch.no_grad()
def test_contexts_and_images_never_see_each_other(context: Tensor) -> None:
    predictor = tiny()
    predicted = predictor(context, CONTEXT, TARGETS)
    changed = context.clone()
    changed[0, 1] += 1
    found = predictor(changed, CONTEXT, TARGETS)
    assert torch.equal(found[0, 0], predicted[0, 0])
    assert torch.equal(found[1], predicted[1])
    assert ((found[0, 1] - predicted[0, 1]).abs().amax(dim=-1) > 1e-6).all()


@torch.no_grad()
def test_places_within_a_block_see_each_other(context: Tensor) -> None:
    predictor = tiny()
    predicted = predictor(context, CONTEXT, TARGETS)
    moved = TARGETS.clone()
    moved[:, 0, 1] = 15
    changed = predictor(context, CONTEXT, moved)
    assert not torch.equal(changed[:, :, 0, 0], predicted[:, :, 0, 0])


@torch.no_grad()
def test_where_tokens_are_decides_what_is_predicted(context: Tensor) -> None:
    predictor = tiny()
    predicted = predictor(context, CONTEXT, TARGETS)
    swapped = predictor(context, CONTEXT, TARGETS.flip(-1))
    torch.testing.assert_close(swapped.flip(-2), predicted)
    assert not torch.allclose(swapped, predicted, atol=1e-6)
    elsewhere = predictor(context, CONTEXT.roll(1, dims=-1), TARGETS)
    assert not torch.allclose(elsewhere, predicted, atol=1e-6)
    both = predictor(context.roll(1, dims=-2), CONTEXT.roll(1, dims=-1), TARGETS)
    torch.testing.assert_close(both, predicted)


@torch.no_grad()
def test_another_grid_resamples_positions(context: Tensor) -> None:
    predictor = tiny()
    smaller = predictor(context, CONTEXT, TARGETS, (6, 4))
    assert smaller.shape == (2, 2, 3, 2, 16)
    assert not torch.allclose(smaller, predictor(context, CONTEXT, TARGETS), atol=1e-6)
    assert torch.equal(
        predictor(context, CONTEXT, TARGETS, GRID), predictor(context, CONTEXT, TARGETS)
    )


def test_checkpointing_changes_nothing_but_memory(context: Tensor) -> None:
    plain, frugal = tiny(), tiny(checkpointing=True)
    for predictor in (plain, frugal):
        predictor(context, CONTEXT, TARGETS).square().sum().backward()
    for one, other in zip(plain.parameters(), frugal.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_heads_are_the_encoders_unless_given() -> None:
    assert tiny().predictor_blocks[0].attn.num_heads == 2
    assert tiny(num_heads=4).predictor_blocks[0].attn.num_heads == 4
    with pytest.raises(ValueError, match=r"set predictor\.num_heads to a divisor of 8"):
        tiny(num_heads=3)


def test_the_mask_token_starts_small_and_learns(context: Tensor) -> None:
    predictor = tiny(width=256)
    assert predictor.mask_token.std().item() == pytest.approx(0.02, rel=0.2)
    predictor(context, CONTEXT, TARGETS).square().sum().backward()
    assert predictor.mask_token.grad.abs().max() > 0
