"""Noise is a function of (draw, picture) and looks like noise."""

from __future__ import annotations

import pytest
import torch

from jepakit.core import noise
from jepakit.core.noise import normals, uniforms

DRAW = torch.tensor(7)


def test_numbers_lie_inside_of_their_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest bits there are: once in 17 million numbers, which a long training draws."""
    monkeypatch.setattr(noise, "_mixed", lambda numbers: torch.full_like(numbers, 0xFFFFFFFF))
    assert 0.999 < uniforms(DRAW, torch.arange(2), 3).max() < 1
    monkeypatch.setattr(noise, "_mixed", torch.zeros_like)
    assert 0 < uniforms(DRAW, torch.arange(2), 3).min() < 0.001


def test_a_picture_gets_the_same_noise_in_every_company() -> None:
    together = normals(DRAW, torch.arange(100, 108), (3, 4, 4))
    assert together.shape == (8, 3, 4, 4)
    alone = normals(DRAW, torch.tensor([105]), (3, 4, 4))
    assert torch.equal(together[5:6], alone)
    assert not torch.equal(together, normals(DRAW + 1, torch.arange(100, 108), (3, 4, 4)))


def test_normal_numbers_are_normal_and_pictures_independent() -> None:
    values = normals(DRAW, torch.arange(400), (500,))
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    assert abs((values**4).mean() - 3) < 0.1
    between = values @ values.T / 500
    between.fill_diagonal_(0)
    assert between.abs().max() < 0.3  # 6.7 deviations of what independence gives
    along = values.T @ values / 400
    along.fill_diagonal_(0)
    assert along.abs().max() < 0.35


def test_uniform_numbers_fill_the_open_interval() -> None:
    values = uniforms(torch.tensor(2**40 + 3), torch.arange(1000), 100)
    assert 0 < values.min() < 1e-3
    assert 0.999 < values.max() < 1
    counts = torch.histc(values, bins=20, min=0, max=1)
    assert counts.min() > 4700
    assert counts.max() < 5300


def test_neighbouring_draws_share_nothing() -> None:
    one, other = (uniforms(torch.tensor(draw), torch.arange(1000), 10) for draw in (1, 2))
    shifted = uniforms(torch.tensor(1), torch.arange(1, 1001), 10)
    for values in (other, shifted):
        correlation = torch.corrcoef(torch.stack([one.flatten(), values.flatten()]))[0, 1]
        assert abs(correlation) < 0.04
