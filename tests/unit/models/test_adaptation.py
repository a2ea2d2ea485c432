"""A patch projection for other patches and channels gives the tokens that it gave before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from jepakit.models.adaptation import adapt_channels, resize_patches


def tokens(pictures: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(pictures, weight, stride=weight.shape[2:])  # type: ignore[arg-type]


def weights(num_channels: int = 3, patch: tuple[int, int] = (4, 6)) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(8, num_channels, *patch)


@pytest.mark.parametrize("num_channels", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("old", [1, 3, 5])
def test_a_grey_picture_gives_the_same_tokens_in_any_number_of_channels(
    old: int, num_channels: int
) -> None:
    grey, weight = torch.randn(2, 1, 8, 12), weights(old)
    before = tokens(grey.expand(-1, old, -1, -1), weight)
    adapted = adapt_channels(weight, num_channels)
    assert adapted.shape == (8, num_channels, 4, 6)
    after = tokens(grey.expand(-1, num_channels, -1, -1), adapted)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_channels_that_stay_keep_their_directions() -> None:
    adapted = adapt_channels(weights(), 5)
    torch.testing.assert_close(adapted[:, :3] * 5 / 3, weights())
    assert adapt_channels(weights(), 3).equal(weights())


@pytest.mark.parametrize("patch", [(8, 12), (5, 6), (7, 9), (4, 6)])
def test_larger_patches_give_the_tokens_of_the_pictures_that_were_enlarged(
    patch: tuple[int, int],
) -> None:
    one_patch = torch.randn(9, 3, 4, 6)
    enlarged = F.interpolate(one_patch, size=patch, mode="bilinear")
    after = tokens(enlarged, resize_patches(weights(), patch))
    torch.testing.assert_close(after, tokens(one_patch, weights()), atol=1e-4, rtol=1e-4)


def test_smaller_patches_give_the_tokens_of_smooth_pictures() -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    slope = (0.1 * rows - 0.2 * columns + 1)[None, None]
    weight = weights(1, (8, 8))
    smaller = F.interpolate(slope, size=(4, 4), mode="bilinear")
    small_weight = resize_patches(weight, (4, 4))
    assert small_weight.dtype == weight.dtype
    before, after = tokens(slope, weight).flatten(), tokens(smaller, small_weight).flatten()
    # The same picture, enlarged again, is what the small weights answer for.
    again = tokens(F.interpolate(smaller, size=(8, 8), mode="bilinear"), weight).flatten()
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.95
    assert torch.corrcoef(torch.stack([again, after]))[0, 1] > 0.95
