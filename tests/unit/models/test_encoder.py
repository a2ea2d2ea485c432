"""The encoder: what it sees, what it must not see, and which shapes it takes."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from jepakit.models import SIZES, Encoder


def tiny(picture: tuple[int, int] = (16, 24), channels: int = 3, **settings: object) -> Encoder:
    torch.manual_seed(0)
    chosen = {"size": None, "width": 16, "depth": 2, "num_heads": 2, "patch": 4, **settings}
    return Encoder(Encoder.Settings(**chosen), channels, picture)


VISIBLE = torch.tensor([[0, 3, 7, 8, 20], [1, 2, 9, 15, 23]])


@torch.no_grad()
def test_hidden_patches_are_invisible() -> None:
    encoder, views = tiny(), torch.randn(2, 3, 16, 24)
    seen = encoder(views, VISIBLE)
    assert seen.shape == (2, 5, 16)
    for image, visible in enumerate(VISIBLE.tolist()):
        changed = views.clone()
        for place in set(range(24)) - set(visible):
            row, column = 4 * (place // 6), 4 * (place % 6)
            changed[image, :, row : row + 4, column : column + 4] = torch.randn(3, 4, 4) * 100
        assert not torch.equal(changed, views)
        assert torch.equal(encoder(changed, VISIBLE), seen)


@torch.no_grad()
@pytest.mark.parametrize("place", [3, 20])
def test_every_visible_patch_is_seen_by_all_tokens(place: int) -> None:
    encoder, views = tiny(), torch.randn(2, 3, 16, 24)
    seen = encoder(views, VISIBLE)
    row, column = 4 * (place // 6), 4 * (place % 6)
    views[0, :, row : row + 4, column : column + 4] += 5
    changed = encoder(views, VISIBLE)
    assert ((changed[0] - seen[0]).abs().amax(dim=-1) > 1e-6).all()
    assert torch.equal(changed[1], seen[1])


@torch.no_grad()
def test_all_indices_in_order_are_the_same_as_none() -> None:
    encoder, views = tiny(), torch.randn(2, 3, 16, 24)
    everything = torch.arange(24).expand(2, -1)
    torch.testing.assert_close(encoder(views, everything), encoder(views))
    order = torch.randperm(24)
    torch.testing.assert_close(encoder(views, everything[:, order]), encoder(views)[:, order])


@torch.no_grad()
def test_positions_matter() -> None:
    encoder = tiny()
    moved = torch.zeros(1, 3, 16, 24)
    assert encoder(moved)[0].std(dim=0).max() > 0.01  # equal patches at different places
    encoder.pos_embed.zero_()
    assert encoder(moved)[0].std(dim=0).max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize(
    ("picture", "patch", "channels"),
    [((16, 24), (4, 4), 1), ((24, 16), (8, 2), 5), ((20, 10), 5, 3)],
)
def test_any_grid_patch_and_number_of_channels(
    picture: tuple[int, int], patch: int | tuple[int, int], channels: int
) -> None:
    encoder = tiny(picture, channels, patch=patch)
    num_tokens = encoder.grid[0] * encoder.grid[1]
    rows, columns = (patch, patch) if isinstance(patch, int) else patch
    assert encoder.grid == (picture[0] // rows, picture[1] // columns)
    assert encoder(torch.randn(2, channels, *picture)).shape == (2, num_tokens, 16)


@torch.no_grad()
def test_another_input_size_resamples_positions() -> None:
    encoder = tiny()
    assert encoder(torch.randn(1, 3, 32, 12)).shape == (1, 24, 16)
    assert encoder(torch.randn(1, 3, 20, 32), torch.tensor([[0, 39]])).shape == (1, 2, 16)
    with pytest.raises(ValueError, match="18 x 24 pixels does not divide into patches of 4 x 4"):
        encoder(torch.randn(1, 3, 18, 24))


@torch.no_grad()
def test_last_layers_and_pooling() -> None:
    encoder, views = tiny(depth=3), torch.randn(2, 3, 16, 24)
    layers = encoder.last_layers(views, 2)
    assert len(layers) == 2
    assert torch.equal(layers[-1], encoder(views))
    torch.testing.assert_close(encoder.norm(encoder.blocks[2](layers[0])), layers[1])
    torch.testing.assert_close(encoder.pooled(views), encoder(views).mean(dim=1))


def test_checkpointing_changes_nothing_but_memory() -> None:
    plain, frugal = tiny(), tiny(checkpointing=True)
    views = torch.randn(2, 3, 16, 24)
    for encoder in (plain, frugal):
        encoder(views, VISIBLE).square().sum().backward()
    for one, other in zip(plain.parameters(), frugal.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize(
    ("size", "millions"),
    [
        *(("vit_tiny", 5.5), ("vit_small", 21.6), ("vit_base", 85.7), ("vit_large", 303.2)),
        *(("vit_huge", 630.6), ("vit_giant", 1011.0), ("vit_gigantic", 1843.4)),
    ],
)
def test_named_sizes_have_the_published_numbers_of_parameters(size: str, millions: float) -> None:
    patch = 14 if SIZES[size].width > 1024 else 16
    with torch.device("meta"):
        encoder = Encoder(Encoder.Settings(size=size, patch=patch), 3, (224, 224))
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def test_settings_override_a_named_size_and_are_checked() -> None:
    settings = Encoder.Settings(size="vit_tiny", depth=3)
    assert settings.resolved() == (192, 3, 3, 4.0)
    with pytest.raises(ValidationError, match="without a named size give width, depth"):
        Encoder.Settings(size=None, width=32)
    with pytest.raises(ValidationError, match="width of 30 must be a multiple of 4"):
        Encoder.Settings(size=None, width=30, depth=1, num_heads=3)
    with pytest.raises(ValidationError, match="patch must be at least 1"):
        Encoder.Settings(patch=0)
    with pytest.raises(ValidationError):
        Encoder.Settings(size="vit_enormous")
