"""Muon against its definition: orthogonal directions, AdamW beside it, no broken steps."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from jepakit.training.muon import Muon, orthogonal
from jepakit.training.optimizer import OptimizationSettings, build_optimizer

CPU = torch.device("cpu")
SETTINGS = OptimizationSettings(method="muon", muon_scale=3, lr=0.01, weight_decay=0.1)


class Network(nn.Module):
    """Two matrices in blocks, one elsewhere, and vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(4, 6)
        self.blocks = nn.ModuleList([nn.Linear(6, 12), nn.Linear(12, 6)])

    def forward(self, rows: Tensor) -> Tensor:
        hidden = self.proj(rows)
        for block in self.blocks:
            hidden = block(hidden)
        return hidden


@pytest.fixture
def objective() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"network": Network()})


def train(objective: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int = 1) -> None:
    for step in range(num_steps):
        rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        objective["network"](rows).square().mean().backward()  # type: ignore[index]
        optimizer.step()


@pytest.mark.parametrize("shape", [(2, 5, 5), (3, 4, 16), (3, 16, 4)])
def test_directions_keep_singular_vectors_and_lose_singular_values(
    shape: tuple[int, int, int],
) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    found = left.mT @ orthogonal(7 * matrices) @ right.mT
    diagonal = found.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(found, torch.diag_embed(diagonal), atol=1e-4, rtol=0)
    large = values > 0.2 * values.amax(dim=1, keepdim=True)
    assert diagonal[large].min() > 0.6
    assert diagonal.max() < 1.25


def test_bf16_gives_nearly_the_same(objective: nn.Module) -> None:
    matrices = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0))
    exact = orthogonal(matrices)
    found = orthogonal(matrices, "bf16")
    assert found.dtype == torch.float32
    error = float((found - exact).norm() / exact.norm())
    assert 1e-4 < error < 0.02
    for precision in ("fp32", "bf16"):
        optimizer = build_optimizer(objective, SETTINGS, CPU, precision)
        assert isinstance(optimizer, Muon)
        assert optimizer.precision == precision


def test_only_matrices_of_blocks_are_orthogonal(objective: nn.Module) -> None:
    optimizer = build_optimizer(objective, SETTINGS, CPU)
    assert isinstance(optimizer, Muon)
    names = {parameter: name for name, parameter in objective.named_parameters()}
    groups = [([names[p] for p in g["params"]], g["orthogonal"]) for g in optimizer.param_groups]
    assert groups == [
        (["network.proj.weight"], False),
        (["network.proj.bias", "network.blocks.0.bias", "network.blocks.1.bias"], False),
        (["network.blocks.0.weight", "network.blocks.1.weight"], True),
    ]


def test_a_step_is_decay_and_an_orthogonal_matrix(objective: nn.Module) -> None:
    optimizer = build_optimizer(objective, SETTINGS, CPU)
    block: nn.Linear = objective["network"].blocks[0]  # type: ignore[index,union-attr,assignment]
    before = block.weight.detach().clone()
    train(objective, optimizer)
    assert block.weight.grad is not None
    step = 0.2 * 12**0.5 * 0.03 * orthogonal(block.weight.grad[None])[0]
    torch.testing.assert_close(block.weight.detach(), before * (1 - 0.03 * 0.1) - step)


def test_directions_are_nesterovs(objective: nn.Module) -> None:
    optimizer = build_optimizer(objective, SETTINGS, CPU)
    assert isinstance(optimizer, Muon)
    block = optimizer.param_groups[-1]["params"][0]
    first, second = torch.randn(2, 12, 6, generator=torch.Generator().manual_seed(0))
    momentum = torch.zeros(12, 6)
    for gradient in (first, second):
        momentum = 0.95 * momentum + 0.05 * gradient
        block.grad = gradient
        with torch.no_grad():
            found = optimizer._directions([block])[0]
        torch.testing.assert_close(found, 0.05 * gradient + 0.95 * momentum)


def test_what_is_not_in_blocks_goes_as_with_adamw(objective: nn.Module) -> None:
    other = nn.ModuleDict({"network": Network()})
    other.load_state_dict(objective.state_dict())
    muon = build_optimizer(objective, SETTINGS, CPU)
    adamw = build_optimizer(other, SETTINGS.model_copy(update={"method": "adamw"}), CPU)
    train(objective, muon)
    train(other, adamw)
    for name, parameter in objective.named_parameters():
        same = torch.equal(parameter, other.get_parameter(name))
        assert same == (not name.endswith(("blocks.0.weight", "blocks.1.weight"))), name


def test_it_goes_on_from_its_state(objective: nn.Module) -> None:
    other = nn.ModuleDict({"network": Network()})
    first = build_optimizer(objective, SETTINGS, CPU)
    train(objective, first, 3)
    other.load_state_dict(objective.state_dict())
    second = build_optimizer(other, SETTINGS, CPU)
    second.load_state_dict(deepcopy(first.state_dict()))
    for network, optimizer in ((objective, first), (other, second)):
        train(network, optimizer, 2)
    for name, parameter in objective.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name


def test_a_broken_step_changes_nothing(objective: nn.Module) -> None:
    optimizer = build_optimizer(objective, SETTINGS, CPU)
    train(objective, optimizer, 2)
    matrices = {n: p for n, p in objective.named_parameters() if n.endswith("weight")}
    blocks = {n: p for n, p in matrices.items() if "blocks" in n}
    before = {
        n: (p.detach().clone(), optimizer.state[p]["momentum"].clone()) for n, p in blocks.items()
    }
    optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
    for parameter in blocks.values():
        parameter.grad = torch.full_like(parameter, float("nan"))
    with torch.no_grad():
        optimizer._orthogonal_step(optimizer.param_groups[-1])
    for name, (weight, momentum) in before.items():
        assert torch.equal(blocks[name].detach(), weight)
        assert torch.equal(optimizer.state[blocks[name]]["momentum"], momentum)
