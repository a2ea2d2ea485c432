"""The fair sampler: sizes, context share, redrawing, and refusals."""

import numpy as np
import pytest
import torch

from jepakit.core.randomness import BatchRandom
from jepakit.masking import multiblock
from jepakit.masking.multiblock import MultiBlock


def build(grid, **settings) -> MultiBlock:
    return MultiBlock(MultiBlock.Settings(**settings), grid)


def test_targets_are_blocks_of_a_known_size():
    masking = build((14, 14))
    targets = masking(64, BatchRandom(0, 0)).targets
    rows, columns = targets // 14, targets % 14
    heights = rows.amax(-1) - rows.amin(-1) + 1
    widths = columns.amax(-1) - columns.amin(-1) + 1
    assert (heights * widths == targets.shape[-1]).all()
    assert {(int(heights[0, 0]), int(widths[0, 0]))} <= set(masking.target_sizes)
    assert (heights == heights[0, 0]).all()


def test_number_of_tokens_depends_on_the_sizes_only():
    masking = build((14, 14))
    for step in range(30):
        shapes = {
            masking(size, BatchRandom(seed=5, step=step)).context.shape[1:] for size in (1, 40)
        }
        assert len(shapes) == 1
        assert shapes.pop()[1] in masking.num_context.values()


def test_block_and_context_counts_follow_the_settings():
    masks = build((14, 14), num_targets=3, num_contexts=2)(8, BatchRandom(0, 0))
    assert masks.targets.shape[:2] == (8, 3)
    assert masks.context.shape[:2] == (8, 2)
    assert not torch.equal(masks.context[:, 0], masks.context[:, 1])


@pytest.mark.parametrize("share", [0.1, 0.25, 0.35])
def test_context_share_is_met_exactly(share):
    masking = build((14, 14), context_share=share)
    for step in range(10):
        assert masking(16, BatchRandom(0, step)).context.shape[-1] == round(share * 196)


def test_an_unreachable_share_is_refused_with_one_that_is_reachable():
    with pytest.raises(ValueError, match="context_share of at most") as error:
        build((14, 14), context_share=0.6)
    reachable = float(str(error.value).split("at most ")[1].split(",")[0])
    assert build((14, 14), context_share=reachable)(4, BatchRandom(0, 0)).context.numel()
    with pytest.raises(ValueError, match="at most"):
        build((14, 14), context_share=reachable + 0.02)


def test_targets_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="smaller target_scale"):
        build((8, 8), target_scale=(1.0, 1.0))
    with pytest.raises(ValueError, match="smaller target_scale"):
        build((4, 4), num_targets=200)


def test_min_context_is_a_floor():
    assert min(build((4, 4)).num_context.values()) < 3
    assert min(build((4, 4), min_context=3).num_context.values()) == 3


def test_most_images_have_enough_context_without_being_drawn_again():
    masking = build((14, 14))
    short = []
    for step in range(40):
        uniforms = np.random.default_rng(step).random((100, 10))
        for (target_size, context_size), wanted in masking.num_context.items():
            _, legal = masking._place(uniforms, target_size, context_size)
            short.append((legal.sum(-1) < wanted).mean())
    assert 0 < np.mean(short) < 1.2 * multiblock.SHORT_SHARE


def test_short_images_are_drawn_again_from_their_own_numbers():
    # A high share, so that about half of the images are drawn again, some of them many times.
    masking = build((14, 14), context_share=0.38)
    whole = masking(64, BatchRandom(0, 0))
    part = masking(5, BatchRandom(0, 0, first=40))
    assert torch.equal(whole.targets[40:45], part.targets)
    assert torch.equal(whole.context[40:45], part.context)


def test_the_last_draw_always_leaves_enough(monkeypatch):
    # With a single redraw, short images get all their targets on one place.
    monkeypatch.setattr(multiblock, "_MOST_DRAWS", 1)
    masking = build((14, 14), context_share=0.38)
    masks = masking(64, BatchRandom(0, 0))
    piled = (masks.targets == masks.targets[:, :1]).all(-1).all(-1)
    assert 0 < piled.sum() < 64
    assert masks.context.shape == (64, 1, round(0.38 * 196))
    for context, targets in zip(masks.context, masks.targets, strict=True):
        assert not torch.isin(context, targets).any()


def test_sizes_vary_between_steps_and_are_independent():
    masking = build((14, 14))
    drawn = {masking(1, BatchRandom(0, step)).targets.shape[-1] for step in range(60)}
    assert drawn == {height * width for height, width in masking.target_sizes}
