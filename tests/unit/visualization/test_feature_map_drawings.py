"""Token colours: one basis for all pictures, robust scale, and strips of several encoders."""

import numpy as np
import pytest
import torch

from jepakit.models.encoder import Encoder
from jepakit.visualization.feature_maps import draw_feature_maps, feature_map_strips, token_colours
from jepakit.visualization.tiles import GAP


def random_tokens(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_equal_tokens_have_equal_colours_in_all_pictures() -> None:
    tokens = random_tokens(3, 12, 16)
    tokens[2, 7] = tokens[0, 1]
    colours = token_colours(tokens, (3, 4))
    assert colours.shape == (3, 3, 4, 3)
    assert torch.equal(colours[2, 1, 3], colours[0, 0, 1])
    assert not torch.allclose(colours[2, 1, 2], colours[0, 0, 1])


def test_colours_follow_the_directions_of_largest_variance() -> None:
    scores = random_tokens(2, 200, 3)
    basis = torch.linalg.qr(random_tokens(8, 8)).Q[:3]
    tokens = (scores * torch.tensor([9.0, 3.0, 1.0])) @ basis + 5
    colours = token_colours(tokens, (10, 20)).reshape(-1, 3)
    for component in range(3):
        pair = torch.stack([colours[:, component], scores.reshape(-1, 3)[:, component]])
        assert torch.corrcoef(pair)[0, 1].abs() > 0.9


def test_colours_do_not_depend_on_shift_scale_or_order() -> None:
    tokens = random_tokens(2, 6, 8)
    colours = token_colours(tokens, (2, 3))
    torch.testing.assert_close(token_colours(tokens * 7 + 3, (2, 3)), colours, atol=1e-4, rtol=0)
    torch.testing.assert_close(token_colours(tokens.flip(0), (2, 3)), colours.flip(0))


def test_an_outlier_does_not_grey_out_the_rest() -> None:
    tokens = random_tokens(4, 100, 8)
    tokens[0, 0] *= 1000
    rest = token_colours(tokens, (10, 10)).reshape(-1, 3)[1:]
    assert rest[:, 1:].std(dim=0).min() > 0.15
    assert rest.min() >= 0
    assert rest.max() <= 1


@pytest.mark.parametrize("width", [1, 2, 8])
def test_constant_or_narrow_tokens_are_drawn(width: int) -> None:
    assert (token_colours(torch.full((2, 4, width), 3.7), (2, 2)) == 0.5).all()
    colours = token_colours(random_tokens(2, 4, width), (2, 2))
    assert colours[..., 0].std() > 0.1
    assert (colours[..., width:] == 0.5).all()


def test_tokens_that_are_not_finite_are_refused() -> None:
    tokens = random_tokens(1, 4, 8)
    tokens[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="diverged"):
        token_colours(tokens, (2, 2))


def tiny_encoder(channels: int, picture: tuple[int, int]) -> Encoder:
    settings = Encoder.Settings(size=None, width=16, depth=1, num_heads=2, patch=(8, 4))
    return Encoder(settings, channels, picture)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sheet_has_a_map_per_encoder_and_finer_maps_are_finer(channels: int) -> None:
    torch.manual_seed(0)
    encoders = {name: tiny_encoder(channels, (16, 24)) for name in ("trained", "random")}
    views = random_tokens(2, channels, 16, 24)
    pictures = (views * 40 + 128).clamp(0, 255).byte()
    sheet = draw_feature_maps(encoders, views, pictures)
    assert sheet.shape == (2 * 128 + GAP, 3 * 192 + 2 * GAP, 3)
    coarse = feature_map_strips(encoders, views, pictures)[0][:, 192 + GAP : 384 + GAP]
    fine = feature_map_strips(encoders, views, pictures, finer=2)[0][:, 192 + GAP : 384 + GAP]
    assert (coarse[:64, :32] == coarse[0, 0]).all(), "one token is one plain rectangle"
    assert len(np.unique(coarse.reshape(-1, 3), axis=0)) <= 2 * 6
    assert len(np.unique(fine.reshape(-1, 3), axis=0)) > 2 * 6
    assert not any(parameter.grad is not None for parameter in encoders["trained"].parameters())


def test_content_only_takes_away_what_depends_on_the_place() -> None:
    torch.manual_seed(0)
    encoders = {"random": tiny_encoder(3, (16, 24))}
    views = torch.zeros(2, 3, 16, 24)
    pictures = torch.zeros(2, 3, 16, 24, dtype=torch.uint8)
    with_place = feature_map_strips(encoders, views, pictures)[0][:, 192 + GAP :]
    without = feature_map_strips(encoders, views, pictures, content_only=True)[0][:, 192 + GAP :]
    assert np.ptp(with_place) > 100
    assert (without == 128).all(), "plain pictures differ in nothing but the place"
    with pytest.raises(ValueError, match="at least two"):
        draw_feature_maps(encoders, views[:1], pictures[:1], content_only=True)
