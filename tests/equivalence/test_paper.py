"""The formulas of the paper and the released recipe, written out here once more, independently."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch
from jepakit.masking.multiblock import MultiBlock
from jepakit.models import Encoder, Predictor
from jepakit.models.cost import StepFlops, TokenCounts, step_flops
from jepakit.models.positions import sine_cosine_positions
from jepakit.objectives import IJepa
from jepakit.training.optimizer import OptimizationSettings, Schedules, build_optimizer

GIGA = 1e9


def tiny(**settings: object) -> IJepa:
    torch.manual_seed(0)
    encoder = Encoder(
        Encoder.Settings(size=None, width=16, depth=2, num_heads=2, patch=4), 3, (24, 16)
    )
    predictor = Predictor(Predictor.Settings(width=8, depth=2), encoder)
    return IJepa(IJepa.Settings(**settings), encoder, predictor)


@pytest.mark.parametrize("grid", [(3, 5), (5, 3), (1, 1)], ids=str)
def test_positions_encode_column_then_row_as_sines_then_cosines(grid: tuple[int, int]) -> None:
    width = 12
    quarter = width // 4
    expected = np.empty((grid[0] * grid[1], width))
    for row in range(grid[0]):
        for column in range(grid[1]):
            code = expected[row * grid[1] + column]
            for i in range(quarter):
                frequency = 1 / 10000 ** (i / quarter)
                code[i] = math.sin(column * frequency)
                code[quarter + i] = math.cos(column * frequency)
                code[2 * quarter + i] = math.sin(row * frequency)
                code[3 * quarter + i] = math.cos(row * frequency)
    found = sine_cosine_positions(grid, width)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=0, atol=1e-6)


def test_positions_are_added_to_patches_and_fixed() -> None:
    objective = tiny()
    for network, name, width in (
        (objective.context_encoder, "pos_embed", 16),
        (objective.predictor, "predictor_pos_embed", 8),
    ):
        assert name in dict(network.named_buffers())
        assert torch.equal(network.get_buffer(name)[0], sine_cosine_positions((6, 4), width))


def smooth_l1(difference: np.ndarray) -> np.ndarray:
    return np.where(abs(difference) < 1, 0.5 * difference**2, abs(difference) - 0.5)


FORMULAS = {"smooth_l1": smooth_l1, "l2": np.square, "l1": np.abs}


@pytest.mark.parametrize("loss", FORMULAS)
@torch.no_grad()
def test_the_loss_is_the_distance_to_normed_target_tokens(loss: str) -> None:
    objective = tiny(loss=loss)
    for parameter in objective.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.3)  # context and target encoder differ
    masks = MultiBlock(MultiBlock.Settings(num_contexts=2), (6, 4))(3, BatchRandom(0, 0))
    views = torch.randn(3, 3, 24, 16)
    batch = Batch(views, masks, torch.full((3,), -1), torch.arange(3))

    tokens = objective.target_encoder(views).double().numpy()
    normed = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(
        tokens.var(-1, keepdims=True) + 1e-5
    )
    distances: dict[int, list[float]] = {m: [] for m in range(masks.targets.shape[1])}
    for image in range(3):
        for context in range(2):
            seen = masks.context[image : image + 1, context]
            encoded = objective.context_encoder(views[image : image + 1], seen)
            for block, block_distances in distances.items():
                hidden = masks.targets[image : image + 1, block : block + 1]
                predicted = objective.predictor(encoded[:, None], seen[:, None], hidden)
                expected = normed[image, hidden[0, 0].numpy()]
                difference = predicted[0, 0, 0].double().numpy() - expected
                block_distances.append(FORMULAS[loss](difference).mean())

    output = objective(batch)
    everything = [value for values in distances.values() for value in values]
    assert output.loss.item() == pytest.approx(np.mean(everything), rel=1e-5)
    for block, values in distances.items():
        assert output.logs[f"loss/block_{block}"].item() == pytest.approx(np.mean(values), rel=1e-5)


RECIPES = {
    "in1k": {"epochs": 300, "warmup_epochs": 40},
    "in22k": {"epochs": 44, "warmup_epochs": 3},
    "longer schedule": {"epochs": 10, "warmup_epochs": 2, "schedule_scale": 1.25},
    "no warm-up": {"epochs": 10, "warmup_epochs": 0},
}


@pytest.mark.parametrize("name", RECIPES)
def test_schedules_are_the_released_ones(name: str) -> None:
    recipe, per_epoch = RECIPES[name], 7
    start, peak, final, decay, final_decay = 2e-4, 1e-3, 1e-6, 0.04, 0.4
    epochs, scale = recipe["epochs"], recipe.get("schedule_scale", 1.0)
    warm = recipe["warmup_epochs"] * per_epoch
    total = int(scale * epochs * per_epoch)
    schedules = Schedules(OptimizationSettings(**recipe), per_epoch)
    objective = tiny(ema=(0.996, 1.0))
    assert schedules.num_steps == epochs * per_epoch
    for step in range(1, schedules.num_steps + 1):  # the recipe counts steps from 1
        if step < warm:
            rate = start + step / warm * (peak - start)
        else:
            share = (step - warm) / (total - warm)
            rate = final + (peak - final) * 0.5 * (1 + math.cos(math.pi * share))
        wanted = final_decay + (decay - final_decay) * 0.5 * (1 + math.cos(math.pi * step / total))
        assert schedules.learning_rate(step - 1) == pytest.approx(rate, rel=1e-9)
        assert schedules.weight_decay(step - 1) == pytest.approx(wanted, rel=1e-9)
        momentum = 0.996 + (step - 1) * (1.0 - 0.996) / (per_epoch * epochs * scale)
        used = objective.coefficient(schedules.progress(step - 1))
        assert used == pytest.approx(momentum, rel=1e-12)


def test_optimizer_groups_are_the_references_in_their_order() -> None:
    objective = tiny()
    optimizer = build_optimizer(objective, OptimizationSettings(), torch.device("cpu"))
    names = {id(p): name for name, p in objective.named_parameters()}
    groups = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]

    def expected(network: str, one_dimensional: bool) -> list[str]:
        parameters = objective.get_submodule(network).named_parameters()
        return [f"{network}.{n}" for n, p in parameters if (p.ndim == 1) == one_dimensional]

    assert groups == [
        expected("context_encoder", False),
        expected("predictor", False),
        expected("context_encoder", True),
        expected("predictor", True),
    ]
    assert "predictor.mask_token" in groups[1]
    Schedules(OptimizationSettings(), 10).apply(optimizer, 500)
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    assert decays[0] == decays[1] > 0.04
    assert decays[2] == decays[3] == 0
    assert len({group["lr"] for group in optimizer.param_groups}) == 1
    for group in optimizer.param_groups:
        assert group["betas"] == (0.9, 0.999)
        assert group["eps"] == 1e-8


def test_one_adamw_step_is_adamws_formula() -> None:
    """The first step moves by the rate times the sign of the gradient; matrices also shrink."""
    layer = nn.Sequential(nn.Linear(3, 2))
    settings = OptimizationSettings(warmup_epochs=0, weight_decay=0.1, final_weight_decay=0.1)
    optimizer = build_optimizer(layer, settings, torch.device("cpu"))
    schedules = Schedules(settings, 100)
    schedules.apply(optimizer, 0)
    weight, bias = (p.detach().clone() for p in layer.parameters())
    for parameter in layer.parameters():
        parameter.grad = torch.linspace(-1.0, 2.0, parameter.numel()).view_as(parameter)
    optimizer.step()
    rate = schedules.learning_rate(0)
    signs = [p.grad.sign() for p in layer.parameters()]
    torch.testing.assert_close(layer[0].weight, weight * (1 - rate * 0.1) - rate * signs[0])
    torch.testing.assert_close(layer[0].bias, bias - rate * signs[1])


def flops(size: str, side: int, patch: int, predictor_depth: int) -> StepFlops:
    """Operations per image in the paper's setting: a quarter of the grid is context."""
    with torch.device("meta"):
        encoder = Encoder(Encoder.Settings(size=size, patch=patch), 3, (side, side))
        predictor = Predictor(Predictor.Settings(depth=predictor_depth), encoder)
    grid = (side // patch) ** 2
    counts = TokenCounts(
        grid=grid, contexts=1, context=round(0.25 * grid), targets=4, target=round(0.175 * grid)
    )
    return step_flops(encoder, predictor, counts)


@pytest.mark.parametrize(
    ("size", "side", "patch", "predictor_depth", "published"),
    [
        ("vit_small", 224, 16, 6, 38),
        ("vit_base", 224, 16, 6, 83),
        ("vit_large", 224, 16, 12, 257),
        ("vit_huge", 224, 14, 12, 637),
        ("vit_huge", 448, 16, 12, 2049),
    ],
)
def test_operations_of_a_step(
    size: str, side: int, patch: int, predictor_depth: int, published: float
) -> None:
    counted = flops(size, side, patch, predictor_depth)
    assert counted.total / GIGA == pytest.approx(published, rel=0.1)


def test_operations_of_the_predictor() -> None:
    assert flops("vit_small", 224, 16, 6).predictor / GIGA == pytest.approx(22, rel=0.1)
