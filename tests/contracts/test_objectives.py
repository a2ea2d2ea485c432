"""What every registered training method must do, with each of its variants."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch, MaskIndices
from jepakit.masking.multiblock import MultiBlock
from jepakit.models import Encoder, Predictor
from jepakit.objectives import OBJECTIVES, IJepa, Objective, PixelDecoder, StepOutput

PICTURE, GRID = (24, 24), (6, 6)


@dataclass(frozen=True)
class Case:
    """A variant of a method, and which of its networks follow which others."""

    name: str
    build: Callable[[], Objective]
    followers: dict[str, str]
    num_contexts: int = 1
    own_graph: bool = True  # whether it is worth a compilation of its own
    frozen: tuple[str, ...] = ()  # networks that neither learn nor follow
    kept: str = "target_encoder"


def ijepa(**settings: Any) -> IJepa:
    torch.manual_seed(0)
    encoder = Encoder(
        Encoder.Settings(size=None, width=16, depth=2, num_heads=2, patch=4), 3, PICTURE
    )
    predictor = Predictor(Predictor.Settings(width=8, depth=1), encoder)
    return IJepa(IJepa.Settings(ema=(0.8, 1.0), **settings), encoder, predictor)


def ijepa_case(
    variant: str, own_graph: bool = True, num_contexts: int = 1, **settings: Any
) -> Case:
    followers = {"target_encoder": "context_encoder"}
    return Case(f"ijepa-{variant}", lambda: ijepa(**settings), followers, num_contexts, own_graph)


def pixel_decoder(**settings: Any) -> PixelDecoder:
    trained = ijepa()
    tiny = {"size": 8, "widths": (8, 16), "num_blocks": 1, "drop": 0.3, "ema": (0.8, 1.0)}
    chosen = PixelDecoder.Settings(**(tiny | settings))
    return PixelDecoder(chosen, trained.context_encoder, trained.predictor)


def pixel_decoder_case(
    variant: str, own_graph: bool = True, frozen: tuple[str, ...] = (), **settings: Any
) -> Case:
    return Case(
        f"pixel_decoder-{variant}",
        lambda: pixel_decoder(**settings),
        {"average": "denoiser"},
        own_graph=own_graph,
        frozen=("context_encoder", "target_encoder", "predictor", *frozen),
    )


# Every method of the table, once plain and once per choice that takes another path.
CASES = {
    "ijepa": [
        ijepa_case("paper"),
        ijepa_case("two contexts", own_graph=False, num_contexts=2),
        ijepa_case("l2", own_graph=False, loss="l2"),
        ijepa_case("l1", own_graph=False, loss="l1"),
        ijepa_case("vicreg", regulariser={"kind": "vicreg"}),
        ijepa_case("sigreg", regulariser={"kind": "sigreg", "num_directions": 8}),
    ],
    "pixel_decoder": [
        pixel_decoder_case("pooled"),
        pixel_decoder_case("tokens", condition="tokens"),
        pixel_decoder_case(
            *("voices", False, ("untrained_encoder", "untrained_predictor")),
            told=("predicted", "target", "untrained"),
            condition="tokens",
        ),
        pixel_decoder_case("view", own_graph=False, decodes="view", size=16),
        pixel_decoder_case("noise", own_graph=False, predicts="noise", schedule="linear"),
    ],
}
ALL_CASES = [case for cases in CASES.values() for case in cases]
OWN_GRAPHS = [case for case in ALL_CASES if case.own_graph]
every_case = pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)


@functools.cache
def masking(num_contexts: int) -> MultiBlock:
    return MultiBlock(MultiBlock.Settings(num_contexts=num_contexts), GRID)


def batch_of(case: Case) -> Batch:
    views = torch.randn(4, 3, *PICTURE, generator=torch.Generator().manual_seed(0))
    masks = masking(case.num_contexts)(4, BatchRandom(seed=1, step=0))
    return Batch(views, masks, torch.full((4,), -1), torch.arange(4))


def loss_of(objective: Objective, batch: Batch) -> Tensor:
    torch.manual_seed(3)  # as the trainer does: methods may draw random numbers
    return objective(batch).loss


def train(case: Case, objective: Objective, num_steps: int) -> list[float]:
    """Losses of a few steps as the trainer takes them."""
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    losses = []
    for step in range(num_steps):
        loss = loss_of(objective, batch_of(case))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.update_targets(step / num_steps)
        losses.append(loss.item())
    return losses


def copies(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.named_parameters()}


def test_every_registered_method_is_tested_here() -> None:
    assert CASES.keys() == OBJECTIVES.keys()
    for name, cases in CASES.items():
        assert all(type(case.build()) is OBJECTIVES[name] for case in cases)
        assert OBJECTIVES[name].Settings().kind == name


@every_case
def test_the_loss_is_one_finite_number_and_logs_are_detached(case: Case) -> None:
    output = case.build()(batch_of(case))
    assert isinstance(output, StepOutput)
    assert output.loss.shape == ()
    assert output.loss.dtype == torch.float32
    assert torch.isfinite(output.loss)
    assert output.loss > 0
    assert output.logs
    for name, value in output.logs.items():
        assert "/" in name
        assert torch.isfinite(value)
        assert not value.requires_grad


@every_case
def test_bf16_autocast_gives_nearly_the_same_loss(case: Case) -> None:
    objective, batch = case.build(), batch_of(case)
    exact = loss_of(objective, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = loss_of(objective, batch)
    rough.backward()
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.05)


@every_case
def test_every_trained_parameter_moves_and_the_loss_falls(case: Case) -> None:
    objective = case.build()
    before = copies(objective)
    losses = train(case, objective, 8)
    unmoved = [
        name
        for name, value in objective.named_parameters()
        if value.requires_grad and torch.equal(value, before[name])
    ]
    assert not unmoved
    assert losses[-1] < losses[0]


@every_case
def test_followers_get_no_gradient_and_nothing_else_is_frozen(case: Case) -> None:
    objective = case.build()
    loss_of(objective, batch_of(case)).backward()
    for name, value in objective.named_parameters():
        follows = name.split(".")[0] in {*case.followers, *case.frozen}
        assert value.requires_grad == (not follows), name
        assert (value.grad is None) == follows, name


@every_case
def test_followers_follow_exactly_as_far_as_they_should(case: Case) -> None:
    objective = case.build()
    assert not [n for n in case.followers if n not in dict(objective.named_children())]
    for follower, source in case.followers.items():
        target, followed = objective.get_submodule(follower), objective.get_submodule(source)
        for (name, one), other in zip(
            target.named_parameters(), followed.parameters(), strict=True
        ):
            assert torch.equal(one, other), f"{name} starts elsewhere"
        with torch.no_grad():
            for value in followed.parameters():
                value.add_(torch.randn_like(value))
        before, moved = copies(target), copies(followed)
        objective.update_targets(0.25)  # the coefficient is a quarter of the way from .8 to 1
        for name, value in target.named_parameters():
            expected = 0.85 * before[name] + 0.15 * moved[name]
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
        assert all(torch.equal(v, moved[n]) for n, v in followed.named_parameters())
        objective.update_targets(0.0)
        now = copies(target)
        objective.update_targets(1.0)
        assert all(torch.equal(v, now[n]) for n, v in target.named_parameters())


@every_case
def test_a_follower_shares_no_memory_with_what_it_follows(case: Case) -> None:
    objective = case.build()
    places = [value.data_ptr() for value in objective.state_dict().values()]
    assert len(set(places)) == len(places)


@every_case
def test_the_state_round_trips_into_another_instance(case: Case) -> None:
    objective, other, batch = case.build(), case.build(), batch_of(case)
    train(case, objective, 2)
    assert loss_of(objective, batch) != loss_of(other, batch)
    other.load_state_dict({name: v.clone() for name, v in objective.state_dict().items()})
    assert torch.equal(loss_of(objective, batch), loss_of(other, batch))
    assert train(case, objective, 2) != train(case, case.build(), 2)


@every_case
def test_the_same_step_twice_is_bit_for_bit_the_same(case: Case) -> None:
    one, other = case.build(), case.build()
    assert train(case, one, 3) == train(case, other, 3)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@every_case
def test_frozen_networks_stay_as_they_are(case: Case) -> None:
    objective = case.build()
    before = {name: copies(objective.get_submodule(name)) for name in case.frozen}
    train(case, objective, 2)
    for name, values in before.items():
        for key, value in objective.get_submodule(name).named_parameters():
            assert torch.equal(value, values[key]), f"{name}.{key}"


@every_case
def test_the_kept_encoder_is_the_one_that_the_objective_owns(case: Case) -> None:
    objective = case.build()
    kept = objective.kept_encoder()
    assert isinstance(kept, Encoder)
    owned = dict(objective.named_children())
    assert kept is owned[case.kept]
    assert kept.pooled(torch.randn(2, 3, *PICTURE)).shape == (2, kept.width)


@every_case
def test_the_order_of_the_pictures_does_not_matter(case: Case) -> None:
    objective, batch = case.build(), batch_of(case)
    order = torch.tensor([2, 0, 3, 1])
    masks = MaskIndices(batch.masks.context[order], batch.masks.targets[order])
    indices = batch.indices[order]  # what is drawn for a picture may depend on its index
    shuffled = replace(batch, views=batch.views[order], masks=masks, indices=indices)
    mixed_up = replace(batch, views=batch.views[order])  # each picture with another's masks
    loss = loss_of(objective, batch)
    torch.testing.assert_close(loss_of(objective, shuffled), loss, rtol=1e-5, atol=1e-6)
    assert not torch.isclose(loss_of(objective, mixed_up), loss, rtol=1e-5, atol=1e-6)


def compare_compiled(case: Case) -> None:
    """Raises if the step has a graph break, or if compiling changes it."""
    objective, plain, batch = case.build(), case.build(), batch_of(case)
    compiled = torch.compile(objective, fullgraph=True, backend="eager")
    loss, expected = loss_of(compiled, batch), loss_of(plain, batch)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for one, other in zip(objective.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def told_by_compiler() -> dict[str, str]:
    """What `compare_compiled` told of each case, by its name.

    It runs in a process of its own, where the shape checks of the tests are not in the graph.
    """
    run = subprocess.run(
        [sys.executable, "-W", "error", __file__], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    return dict(json.loads(line) for line in run.stdout.splitlines())


@pytest.mark.parametrize("case", OWN_GRAPHS, ids=lambda case: case.name)
def test_forward_is_one_graph(case: Case, told_by_compiler: dict[str, str]) -> None:
    assert told_by_compiler[case.name] == "one graph"


if __name__ == "__main__":
    for tried in OWN_GRAPHS:
        torch._dynamo.reset()
        try:
            compare_compiled(tried)
            told = "one graph"
        except (AssertionError, RuntimeError) as error:
            told = str(error)
        print(json.dumps([tried.name, told]))
