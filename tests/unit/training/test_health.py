"""A step that is not finite is noticed before it reaches the weights."""

from __future__ import annotations

import pytest
import torch

from jepakit.training.health import Health, NotFinite

GOOD = torch.tensor(1.5)
BAD = [torch.tensor(float(text)) for text in ("nan", "inf", "-inf")]


def health() -> Health:
    return Health(torch.optim.SGD([torch.nn.Parameter(torch.ones(2))]), torch.device("cpu"))


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_loss_or_gradient_that_is_not_finite_is_named(bad: torch.Tensor) -> None:
    for loss, norm in ((bad, GOOD), (GOOD, bad), (bad, bad)):
        judge = health()
        judge.judge(3, GOOD, GOOD, stop_asked=False)
        with pytest.raises(NotFinite, match="not finite at step 4") as told:
            judge.judge(4, loss, norm, stop_asked=False)
        assert told.value.step == 4


def test_good_steps_pass_and_nothing_is_pending_on_a_cpu() -> None:
    judge = health()
    for step in range(3):
        judge.judge(step, GOOD, GOOD, stop_asked=False)
    assert judge.pending is None
    judge.settle()
    assert not judge.stop_agreed


def test_a_wish_to_stop_is_remembered() -> None:
    judge = health()
    judge.judge(0, GOOD, GOOD, stop_asked=True)
    assert judge.stop_agreed
    judge.judge(1, GOOD, GOOD, stop_asked=False)
    assert judge.stop_agreed


def test_a_huge_but_finite_step_passes() -> None:
    judge = health()
    judge.judge(0, torch.tensor(1e30), torch.tensor(1e30), stop_asked=False)
    assert not judge.ever_bad


def test_judging_keeps_no_graph() -> None:
    judge = health()
    loss = torch.ones((), requires_grad=True) * 2
    judge.judge(0, loss, GOOD, stop_asked=False)
    assert not judge.ever_bad.requires_grad


@pytest.mark.gpu
def test_on_a_gpu_the_optimizer_skips_at_once_and_the_host_hears_one_step_later() -> None:
    device = torch.device("cuda")
    weight = torch.nn.Parameter(torch.ones(4, device=device))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    judge = Health(optimizer, device)
    norm = torch.ones((), device=device)
    weight.grad = torch.ones_like(weight)
    judge.judge(0, norm, norm, stop_asked=False)
    optimizer.step()
    moved = weight.detach().clone()
    assert not torch.equal(moved, torch.ones(4, device=device))
    judge.judge(1, norm * float("nan"), norm, stop_asked=False)
    optimizer.step()
    assert torch.equal(weight, moved)
    with pytest.raises(NotFinite, match="step 1"):
        judge.judge(2, norm, norm, stop_asked=False)
    assert torch.equal(weight, moved)
