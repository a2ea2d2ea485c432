"""Which parameters are optimised, how many steps there are, and that rates reach AdamW."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from jepakit.training.optimizer import OptimizationSettings, Schedules, build_optimizer

CPU = torch.device("cpu")


class TwoNetworks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        self.frozen = nn.Linear(2, 3).requires_grad_(False)
        self.second = nn.Linear(3, 1)


def test_everything_that_trains_is_in_exactly_one_group() -> None:
    objective = TwoNetworks()
    optimizer = build_optimizer(objective, OptimizationSettings(), CPU)
    optimised = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(optimised) == len(set(optimised))
    assert set(optimised) == {id(p) for p in objective.parameters() if p.requires_grad}
    for group in optimizer.param_groups:
        assert group["decayed"] == (group["params"][0].ndim > 1)
        assert len({p.ndim > 1 for p in group["params"]}) == 1


def test_schedules_reach_the_optimizer_and_spare_vectors() -> None:
    optimizer = build_optimizer(TwoNetworks(), OptimizationSettings(), CPU)
    schedules = Schedules(OptimizationSettings(epochs=2, warmup_epochs=1), 10)
    for step in (0, 9, 19):
        schedules.apply(optimizer, step)
        for group in optimizer.param_groups:
            assert group["lr"] == schedules.learning_rate(step)
            expected = schedules.weight_decay(step) if group["decayed"] else 0
            assert group["weight_decay"] == expected


def test_the_fused_optimizer_does_what_the_plain_one_does() -> None:
    torch.manual_seed(0)
    fused, plain = TwoNetworks(), TwoNetworks()
    plain.load_state_dict(fused.state_dict())
    settings = OptimizationSettings(lr=0.01, betas=(0.8, 0.9), eps=1e-3)
    optimizers = [build_optimizer(fused, settings, CPU)]
    assert optimizers[0].defaults["fused"]
    groups = build_optimizer(plain, settings, CPU).param_groups
    bare = [{k: g[k] for k in ("params", "weight_decay")} for g in groups]
    optimizers.append(
        torch.optim.AdamW(bare, lr=0.01, betas=(0.8, 0.9), eps=1e-3, fused=False, foreach=False)
    )
    rows = torch.randn(5, 2)
    for _ in range(3):
        for network, optimizer in zip((fused, plain), optimizers, strict=True):
            optimizer.zero_grad()
            network.second(network.first(rows)).square().sum().backward()
            optimizer.step()
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("epochs", "per_epoch", "steps"), [(2, 10, 20), (0.5, 10, 5), (0.04, 10, 1), (1.26, 10, 13)]
)
def test_epochs_may_be_fractions(epochs: float, per_epoch: int, steps: int) -> None:
    schedules = Schedules(OptimizationSettings(epochs=epochs, warmup_epochs=0), per_epoch)
    assert schedules.num_steps == steps
    assert schedules.progress(0) == 0
    assert all(0 <= schedules.progress(step) <= 1 for step in range(steps + 1))
    assert schedules.learning_rate(steps + 100) == pytest.approx(1e-6)


def test_a_longer_schedule_ends_early_in_it() -> None:
    settings = OptimizationSettings(epochs=10, warmup_epochs=0, schedule_scale=1.25)
    schedules = Schedules(settings, 8)
    assert schedules.num_steps == 80
    assert schedules.progress(80) == pytest.approx(0.8)
    assert schedules.learning_rate(79) > 5e-5


def test_settings_are_checked() -> None:
    for wrong in ({"lr": 0}, {"epochs": 0}, {"weight_decay": -1}, {"clip_gradients": 0}):
        with pytest.raises(ValidationError):
            OptimizationSettings(**wrong)
