"""The released sampler's distribution, with each of its faults."""

import numpy as np
import pytest
import torch

from jepakit.core.randomness import BatchRandom
from jepakit.masking.coverage import measure_coverage
from jepakit.masking.reference_multiblock import ReferenceMultiBlock


def build(grid, **settings) -> ReferenceMultiBlock:
    return ReferenceMultiBlock(ReferenceMultiBlock.Settings(**settings), grid)


@pytest.mark.parametrize("grid", [(3, 3), (3, 20), (4, 4), (7, 5), (8, 8)])
def test_grids_on_which_it_never_ends_are_refused(grid):
    with pytest.raises(ValueError, match=r"never ends.*kind multiblock.*min_keep of at most"):
        build(grid)


def test_the_min_keep_it_proposes_works():
    with pytest.raises(ValueError, match="never ends") as error:
        build((8, 8))
    proposed = int(str(error.value).rsplit(" ", 1)[1])
    assert build((8, 8), min_keep=proposed)(4, BatchRandom(0, 0)).context.shape[-1] > proposed


def test_sizes_follow_from_one_number():
    masking = build((14, 14))
    # At 0: area 29, aspect 0.75: sides 4.66 and 6.2; at 1: area 39, aspect 1.5: 7.6 and 5.1.
    assert masking._target_size(0.0) == (5, 6)
    assert masking._target_size(1.0) == (8, 5)
    sizes = {masking._target_size(draw) for draw in np.linspace(0, 1, 1000)}
    assert len(sizes) <= 6
    assert {masking._context_size(draw) for draw in np.linspace(0, 1, 1000)} == {(13, 13)}


def test_last_row_and_column_never_occur_and_the_top_prevails():
    coverage = measure_coverage(build((14, 14)), num_images=2560)
    assert not coverage.target[-1].any()
    assert not coverage.target[:, -1].any()
    assert not coverage.context[-1].any()
    assert not coverage.context[:, -1].any()
    by_row = coverage.context_per_row
    assert by_row[0] > 0.6
    assert by_row[-2] < 0.05
    # METHOD: the effective share is about .25 at 128 images.
    assert coverage.context.mean() == pytest.approx(0.25, abs=0.02)


def test_contexts_are_cut_from_the_tail_to_the_shortest_of_the_slice():
    masking = build((14, 14))
    alone = [masking(1, BatchRandom(0, 0, first)).context for first in range(16)]
    together = masking(16, BatchRandom(0, 0)).context
    shortest = min(context.shape[-1] for context in alone)
    assert together.shape[-1] == shortest
    assert max(context.shape[-1] for context in alone) > shortest
    for row, context in zip(together, alone, strict=True):
        assert torch.equal(row, context[0, :, :shortest])


def test_overlap_is_allowed_by_its_setting():
    masks = build((14, 14), allow_overlap=True)(8, BatchRandom(0, 0))
    assert masks.context.shape[-1] == 169
    assert all(torch.isin(t, c).all() for c, t in zip(masks.context, masks.targets, strict=True))


def test_targets_are_shown_where_too_few_tokens_remain():
    # Forty targets on a grid of 9 x 9 leave 10 tokens or fewer, so some are excluded no more.
    masking = build((9, 9), num_pred_masks=40)
    masks = masking(8, BatchRandom(0, 0))
    overlaps = [torch.isin(c, t).any() for c, t in zip(masks.context, masks.targets, strict=True)]
    assert any(overlaps)
    assert masks.context.shape[-1] > 10


def test_several_contexts():
    assert build((14, 14), num_enc_masks=2)(4, BatchRandom(0, 0)).context.shape[:2] == (4, 2)
