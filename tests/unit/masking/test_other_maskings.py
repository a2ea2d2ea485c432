"""The paper's three other samplers: block, random, rasterized."""

import pytest
import torch

from jepakit.core.randomness import BatchRandom
from jepakit.masking.block import Block
from jepakit.masking.coverage import measure_coverage
from jepakit.masking.random_patches import RandomPatches
from jepakit.masking.rasterized import Rasterized


def test_block_is_one_block_and_its_complement():
    masks = Block(Block.Settings(), (14, 14))(32, BatchRandom(0, 0))
    assert masks.targets.shape[1] == 1
    assert masks.targets.shape[-1] == pytest.approx(0.6 * 196, abs=8)
    rows, columns = masks.targets // 14, masks.targets % 14
    areas = (rows.amax(-1) - rows.amin(-1) + 1) * (columns.amax(-1) - columns.amin(-1) + 1)
    assert (areas == masks.targets.shape[-1]).all()
    assert masks.context.shape[-1] + masks.targets.shape[-1] == 196


def test_block_must_leave_a_context():
    with pytest.raises(ValueError, match="leave no context"):
        Block(Block.Settings(target_scale=(0.9, 1.0)), (3, 3))


def test_random_patches_are_uniform():
    masking = RandomPatches(RandomPatches.Settings(), (7, 5))
    coverage = measure_coverage(masking, num_images=12_800)
    share = 21 / 35
    error = (share * (1 - share) / 12_800) ** 0.5
    assert abs(coverage.target - share).max() < 5 * error
    assert abs(coverage.context - (1 - share)).max() < 5 * error


def test_random_patches_keep_one_token_on_either_side():
    few = RandomPatches(RandomPatches.Settings(target_share=0.001), (3, 3))(2, BatchRandom(0, 0))
    many = RandomPatches(RandomPatches.Settings(target_share=0.999), (3, 3))(2, BatchRandom(0, 0))
    assert (few.targets.shape[-1], many.context.shape[-1]) == (1, 1)


def test_rasterized_quadrants_of_an_even_grid_cover_it():
    masks = Rasterized(Rasterized.Settings(), (4, 6))(64, BatchRandom(0, 0))
    assert masks.targets.shape == (64, 3, 6)
    tokens = torch.cat([masks.context, masks.targets], dim=1).flatten(1).sort().values
    assert (tokens == torch.arange(24)).all()
    assert {tuple(context[0].tolist()) for context in masks.context} == {
        (0, 1, 2, 6, 7, 8),
        (3, 4, 5, 9, 10, 11),
        (12, 13, 14, 18, 19, 20),
        (15, 16, 17, 21, 22, 23),
    }


def test_rasterized_reaches_every_token_of_an_odd_grid():
    masking = Rasterized(Rasterized.Settings(), (5, 7))
    assert masking(2, BatchRandom(0, 0)).context.shape == (2, 1, 6)
    coverage = measure_coverage(masking, num_images=6400)
    # Outer rows and columns take part in every other image, and are context in a quarter of those.
    assert coverage.context[0, 0] == pytest.approx(1 / 16, abs=0.02)
    assert coverage.context[-1, -1] == pytest.approx(1 / 16, abs=0.02)
    assert coverage.context[2, 3] == pytest.approx(1 / 4, abs=0.03)
    assert coverage.target[2, 3] == pytest.approx(3 / 4, abs=0.03)
