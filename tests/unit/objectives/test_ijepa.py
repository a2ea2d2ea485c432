"""I-JEPA beyond the contract: what each picture's loss depends on, and the moving average."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch, MaskIndices
from jepakit.masking.multiblock import MultiBlock
from jepakit.models import Encoder, Predictor
from jepakit.objectives import IJepa

MASKING = MultiBlock(MultiBlock.Settings(), (4, 6))


def tiny(checkpointing: bool = False, **settings: object) -> IJepa:
    torch.manual_seed(0)
    chosen = {"size": None, "width": 16, "depth": 2, "num_heads": 2, "patch": 4}
    encoder = Encoder(Encoder.Settings(**chosen, checkpointing=checkpointing), 3, (16, 24))
    predictor = Predictor(Predictor.Settings(width=8, depth=1), encoder)
    return IJepa(IJepa.Settings(**settings), encoder, predictor)


@pytest.fixture
def batch() -> Batch:
    views = torch.randn(4, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    masks = MASKING(4, BatchRandom(0, 0))
    return Batch(views, masks, torch.full((4,), -1), torch.arange(4))


def part(batch: Batch, chosen: slice) -> Batch:
    masks = MaskIndices(batch.masks.context[chosen], batch.masks.targets[chosen])
    views, labels, indices = batch.views[chosen], batch.labels[chosen], batch.indices[chosen]
    return Batch(views, masks, labels, indices)


@torch.no_grad()
def test_the_loss_is_the_mean_of_each_pictures_own(batch: Batch) -> None:
    objective = tiny()
    alone = [objective(part(batch, slice(i, i + 1))).loss.item() for i in range(4)]
    assert len(set(alone)) == 4
    assert objective(batch).loss.item() == pytest.approx(sum(alone) / 4, rel=1e-5)


@torch.no_grad()
def test_a_picture_changes_nobody_elses_prediction_or_target(batch: Batch) -> None:
    objective = tiny()
    views = batch.views.clone()
    views[2] += 1
    changed = replace(batch, views=views)
    others = [0, 1, 3]
    assert torch.equal(objective.predict(changed)[others], objective.predict(batch)[others])
    assert torch.equal(objective.targets(views)[others], objective.targets(batch.views)[others])
    assert not torch.equal(objective.predict(changed)[2], objective.predict(batch)[2])


@torch.no_grad()
def test_predictions_know_nothing_but_the_context(batch: Batch) -> None:
    objective = tiny()
    hidden = torch.ones(4, 24, dtype=torch.bool).scatter(1, batch.masks.context[:, 0], False)
    pixels = hidden.view(4, 1, 4, 6).repeat_interleave(4, 2).repeat_interleave(4, 3)
    changed = replace(batch, views=torch.where(pixels, 7.0, batch.views))
    assert torch.equal(objective.predict(changed), objective.predict(batch))
    assert objective(changed).loss != objective(batch).loss


@torch.no_grad()
def test_targets_are_normed_and_see_the_whole_picture(batch: Batch) -> None:
    objective = tiny()
    targets = objective.targets(batch.views)
    assert targets.shape == (4, 24, 16)
    torch.testing.assert_close(targets.mean(-1), torch.zeros(4, 24), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        targets.var(-1, unbiased=False), torch.ones(4, 24), rtol=0, atol=0.01
    )
    views = batch.views.clone()
    views[0, :, :4, :4] += 3
    assert ((objective.targets(views) - targets)[0].abs().amax(-1) > 0).all()


@torch.no_grad()
def test_another_input_size_goes_all_the_way(batch: Batch) -> None:
    masks = MultiBlock(MultiBlock.Settings(), (6, 5))(4, BatchRandom(0, 0))
    larger = replace(batch, views=torch.randn(4, 3, 24, 20), masks=masks)
    assert torch.isfinite(tiny()(larger).loss)


def test_only_the_context_encoder_recomputes(batch: Batch) -> None:
    plain, frugal = tiny(), tiny(checkpointing=True)
    assert frugal.context_encoder.blocks.checkpointing
    assert not frugal.target_encoder.blocks.checkpointing
    assert torch.equal(plain(batch).loss, frugal(batch).loss)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ema": (0.996, 1.0)}, [0.996, 0.998, 1.0]),
        ({"ema": (0.9, 1.0), "ema_cap": 0.97}, [0.9, 0.95, 0.97]),
        ({"ema": (0.5, 0.5)}, [0.5, 0.5, 0.5]),
    ],
)
def test_the_coefficient_grows_linearly_up_to_the_cap(
    settings: dict[str, object], expected: list[float]
) -> None:
    objective = tiny(**settings)
    found = [objective.coefficient(progress) for progress in (0.0, 0.5, 1.0)]
    assert found == pytest.approx(expected, rel=1e-12)


@torch.no_grad()
def test_targets_really_become_what_they_follow() -> None:
    objective = tiny(ema=(0.5, 0.5))
    for parameter in objective.context_encoder.parameters():
        parameter.add_(1.0)
    distances = []
    for _ in range(12):
        objective.update_targets(0.3)
        difference = objective.target_encoder.norm.bias - objective.context_encoder.norm.bias
        distances.append(difference.abs().max().item())
    assert distances == pytest.approx([0.5 ** (i + 1) for i in range(12)], rel=1e-4)


def test_logs_name_every_part_of_the_loss(batch: Batch) -> None:
    output = tiny()(batch)
    assert list(output.logs) == [f"loss/block_{m}" for m in range(4)]
    assert torch.stack(list(output.logs.values())).mean().item() == pytest.approx(
        output.loss.item(), rel=1e-5
    )
    output = tiny(regulariser={"kind": "vicreg", "weight": 0.25})(batch)
    whole = output.logs["loss/prediction"] + 0.25 * output.logs["loss/regulariser"]
    torch.testing.assert_close(output.loss.detach(), whole)


@pytest.mark.parametrize("kind", ["vicreg", "sigreg"])
def test_the_term_acts_on_the_pooled_context_and_not_on_the_predictor(
    kind: str, batch: Batch
) -> None:
    plain, regularised = tiny(), tiny(regulariser={"kind": kind, "weight": 5.0})
    for objective in (plain, regularised):
        torch.manual_seed(0)
        objective(batch).loss.backward()
    for name in ("predictor", "context_encoder"):
        one, other = (o.get_submodule(name).parameters() for o in (plain, regularised))
        same = [torch.equal(p.grad, q.grad) for p, q in zip(one, other, strict=True)]
        assert all(same) if name == "predictor" else not any(same)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"objective.ema=\[0.9, 1.1\] must lie in \[0, 1\]"):
        tiny(ema=(0.9, 1.1))
    with pytest.raises(ValidationError):
        IJepa.Settings(ema_cap=0)
    with pytest.raises(ValidationError):
        IJepa.Settings(loss="l3")
