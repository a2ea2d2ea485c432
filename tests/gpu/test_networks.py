"""One forward and backward pass on a GPU beside the same on the CPU, and compiled beside eager."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from jepakit.core.devices import autocast
from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch
from jepakit.masking import Masking, build_masking
from jepakit.masking.multiblock import MultiBlock
from jepakit.models import Encoder, Predictor
from jepakit.objectives.ijepa import IJepa
from jepakit.objectives.regularisers import RegulariserSettings
from jepakit.training.parallel import compile_objective

pytestmark = pytest.mark.gpu
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIDE = 112


def objective(kind: str = "none") -> IJepa:
    torch.manual_seed(0)
    size = {"size": None, "width": 128, "depth": 3, "num_heads": 2, "patch": 8}
    encoder = Encoder(Encoder.Settings(**size, initialisation="fan_in"), 3, (SIDE, SIDE))
    predictor = Predictor(Predictor.Settings(width=64, depth=2, initialisation="fan_in"), encoder)
    settings = IJepa.Settings(regulariser=RegulariserSettings(kind=kind))  # type: ignore[arg-type]
    return IJepa(settings, encoder, predictor)


def sampler() -> Masking:
    return build_masking(MultiBlock.Settings(), (SIDE // 8, SIDE // 8))


def batch(step: int = 0, count: int = 16) -> Batch:
    views = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(step))
    zeros = torch.zeros(count, dtype=torch.long)
    return Batch(views, sampler()(count, BatchRandom(seed=0, step=step)), zeros, zeros)


def learned(network: IJepa, given: Batch, precision: str = "fp32") -> tuple[Tensor, Tensor]:
    """Loss, and all gradients in a row, on the host."""
    device = next(network.parameters()).device
    with autocast(device, precision):  # type: ignore[arg-type]
        loss = network(given.to(device)).loss
    network.zero_grad()
    loss.backward()
    gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return loss.detach().cpu(), torch.cat(gradients).cpu()


def off(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", ["none", "vicreg"])
def test_a_gpu_computes_what_a_cpu_does(kind: str) -> None:
    on_cpu = objective(kind)
    on_gpu = copy.deepcopy(on_cpu).to(CUDA)
    loss, gradients = learned(on_cpu, batch())
    for precision, loss_off, gradients_off in (("fp32", 1e-5, 1e-4), ("bf16", 1e-2, 5e-2)):
        other_loss, other_gradients = learned(on_gpu, batch(), precision)
        assert off(other_loss, loss) < loss_off, precision
        assert off(other_gradients, gradients) < gradients_off, precision


def test_compiled_steps_are_the_eager_ones_and_few_graphs_serve_all_masks() -> None:
    eager = objective("vicreg").to(CUDA)
    compiled = copy.deepcopy(eager)
    torch._dynamo.reset()
    compile_objective(compiled)
    shapes = set()
    for step in range(12):
        given = batch(step)
        shapes.add((given.masks.context.shape, given.masks.targets.shape))
        loss, gradients = learned(eager, given)
        other_loss, other_gradients = learned(compiled, given)
        assert off(other_loss, loss) < 1e-5
        assert off(other_gradients, gradients) < 1e-4
    assert len(shapes) > 3
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs <= 8, f"{graphs} graphs for {len(shapes)} shapes"
    assert not torch._dynamo.utils.counters["graph_break"]
