"""Contact sheets of masks: sizes, what is hidden, and outlines where the blocks are."""

import numpy as np
import pytest
import torch

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import MaskIndices
from jepakit.masking import MultiBlock
from jepakit.visualization.masks import draw_masks, mask_strips, target_colour
from jepakit.visualization.tiles import GAP, tile_size


def pictures(*shape: int) -> torch.Tensor:
    return torch.randint(
        0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def tiles(strip: np.ndarray, width: int) -> list[np.ndarray]:
    return [strip[:, start : start + width] for start in range(0, strip.shape[1], width + GAP)]


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((2, 3, 32, 32), (4, 4)),
        ((2, 1, 28, 28), (7, 7)),
        ((1, 3, 32, 32), (4, 8)),
        ((1, 2, 40, 24), (5, 3)),
        ((2, 4, 48, 96), (6, 12)),
        ((1, 9, 224, 224), (14, 14)),
        ((1, 3, 8, 8), (4, 4)),
        ((1, 3, 8, 240), (3, 90)),
    ],
)
def test_sheet_fits_any_picture(shape: tuple[int, ...], grid: tuple[int, int]) -> None:
    num_pictures = shape[0]
    masks = MultiBlock(MultiBlock.Settings(), grid)(num_pictures, BatchRandom(0, 0))
    sheet = draw_masks(pictures(*shape), masks, grid)
    height, width = tile_size(shape[-2:], grid)
    assert height % grid[0] == width % grid[1] == 0
    assert sheet.dtype == np.uint8
    assert sheet.shape == (num_pictures * (height + GAP) - GAP, 3 * (width + GAP) - GAP, 3)
    assert max(height, width) >= 0.85 * 192 or max(grid) > 32
    assert height / width == pytest.approx(shape[-2] / shape[-1], rel=0.1) or shape[-1] == 240


def one_block_masks() -> MaskIndices:
    """On a grid of 4 x 6: context the first row, targets rows 1-2 x columns 2-3 and the corner."""
    return MaskIndices(
        context=torch.arange(6).view(1, 1, 6),
        targets=torch.tensor([[[8, 9, 14, 15], [22, 23, 22, 23]]]),
    )


def test_context_tile_keeps_what_is_seen_and_hides_the_rest() -> None:
    strip = mask_strips(pictures(1, 3, 64, 96), one_block_masks(), (4, 6))[0]
    original, context, _ = tiles(strip, 192)
    assert (context[:32] == original[:32]).all()
    hidden = context[32:]
    assert (hidden == hidden[..., :1]).all(), "hidden patches have no colour"
    assert hidden.max() < 120
    assert hidden.std() > 3, "stripes"


@pytest.mark.parametrize("level", [0, 128, 255])
def test_hidden_is_told_apart_from_any_plain_picture(level: int) -> None:
    plain = torch.full((1, 3, 64, 96), level, dtype=torch.uint8)
    _, context, _ = tiles(mask_strips(plain, one_block_masks(), (4, 6))[0], 192)
    assert np.ptp(context[:32]) == 0
    assert np.ptp(context[32:]) > 20


def test_target_outlines_lie_inside_their_blocks() -> None:
    plain = torch.full((1, 3, 64, 96), 200, dtype=torch.uint8)
    _, _, targets = tiles(mask_strips(plain, one_block_masks(), (4, 6))[0], 192)
    first, second = target_colour(0), target_colour(1)
    for corner in [(32, 64), (32, 127), (95, 64), (95, 127)]:  # cells of 32 pixels
        assert tuple(targets[corner]) == first
    for outside in [(31, 64), (32, 63), (96, 127), (95, 128), (0, 0)]:
        assert tuple(targets[outside]) == (76, 76, 76), "dimmed"
    assert tuple(targets[64, 96]) == (200, 200, 200), "undimmed inside a block"
    assert tuple(targets[127, 191]) == second, "the grid's last corner"
    outlined = (targets == np.array(first)).all(axis=2)
    assert outlined.sum() == 64 * 64 - 58 * 58, "a frame of three pixels"


def test_blocks_on_top_of_each_other_both_show() -> None:
    masks = MaskIndices(torch.zeros(1, 1, 1, dtype=torch.long), torch.tensor([[[8, 9], [8, 9]]]))
    strip = mask_strips(pictures(1, 3, 64, 96), masks, (4, 6))[0]
    _, _, targets = tiles(strip, 192)
    counts = [int((targets == np.array(target_colour(i))).all(axis=2).sum()) for i in (0, 1)]
    assert min(counts) > 0.3 * sum(counts) > 0


def test_every_context_block_has_a_tile() -> None:
    masks = MaskIndices(torch.tensor([[[0], [23]]]), torch.tensor([[[8]]]))
    shown = tiles(mask_strips(pictures(1, 3, 64, 96), masks, (4, 6))[0], 192)
    assert len(shown) == 4
    assert (shown[2][96:, 160:] == shown[0][96:, 160:]).all()


def test_target_colours_are_distinct() -> None:
    assert len({target_colour(block) for block in range(24)}) == 24


def test_grey_and_many_channels() -> None:
    masks = one_block_masks()
    grey = pictures(1, 1, 64, 96)
    original = tiles(mask_strips(grey, masks, (4, 6))[0], 192)[0]
    assert (original == original[..., :1]).all()
    many = pictures(1, 5, 64, 96)
    assert (mask_strips(many, masks, (4, 6))[0] == mask_strips(many[:, :3], masks, (4, 6))[0]).all()
    two = mask_strips(many[:, :2], masks, (4, 6))[0]
    assert (two == mask_strips(many[:, :1], masks, (4, 6))[0]).all()


def test_masks_of_another_grid_or_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="grid that the masks were drawn for"):
        draw_masks(pictures(1, 3, 32, 32), one_block_masks(), (3, 6))
    with pytest.raises(ValueError, match="one mask per picture"):
        draw_masks(pictures(2, 3, 32, 32), one_block_masks(), (4, 6))
