"""The moving average of networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jepakit.core.ema import follow


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return tuple(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)) for _ in range(2))


@pytest.mark.parametrize("coefficient", [0.0, 0.3, 0.996, 1.0])
def test_the_formula(coefficient: float) -> None:
    target, source = pair()
    before = [p.detach().clone() for p in target.parameters()]
    unchanged = [p.detach().clone() for p in source.parameters()]
    follow(target, source, coefficient)
    for t, s, b, u in zip(target.parameters(), source.parameters(), before, unchanged, strict=True):
        torch.testing.assert_close(t, coefficient * b + (1 - coefficient) * u)
        assert torch.equal(s, u)
    if coefficient in (0.0, 1.0):
        expected = unchanged if coefficient == 0 else before
        assert all(map(torch.equal, target.parameters(), expected))


def test_no_graph_is_left_behind() -> None:
    target, source = pair()
    follow(target, source, 0.5)
    assert all(p.grad_fn is None and p.is_leaf for p in target.parameters())


def test_networks_must_be_alike() -> None:
    target, _ = pair()
    with pytest.raises(AssertionError, match="same network"):
        follow(target, nn.Linear(3, 4), 0.5)
