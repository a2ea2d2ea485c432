"""Costs from shapes, against operations that torch counts while it computes them."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch
from jepakit.masking.multiblock import MultiBlock
from jepakit.models import Encoder, Predictor
from jepakit.models.cost import TokenCounts, step_flops
from jepakit.models.memory import state_bytes, step_memory
from jepakit.objectives import IJepa


def networks(checkpointing: bool = False) -> tuple[Encoder, Predictor]:
    torch.manual_seed(0)
    chosen = {"size": None, "width": 32, "depth": 3, "num_heads": 2, "patch": 4}
    encoder = Encoder(Encoder.Settings(**chosen, checkpointing=checkpointing), 3, (24, 32))
    predictor = Predictor(Predictor.Settings(width=16, depth=2), encoder)
    return encoder, predictor


@pytest.mark.parametrize("num_contexts", [1, 2])
def test_operations_are_those_that_torch_counts(num_contexts: int) -> None:
    encoder, predictor = networks()
    masking = MultiBlock(MultiBlock.Settings(num_contexts=num_contexts), encoder.grid)
    masks = masking(4, BatchRandom(0, 0))
    batch = Batch(torch.randn(4, 3, 24, 32), masks, torch.full((4,), -1), torch.arange(4))
    objective = IJepa(IJepa.Settings(), encoder, predictor)
    with FlopCounterMode(display=False) as counter:
        objective(batch).loss.backward()
    counts = TokenCounts(
        grid=48,
        contexts=masks.context.shape[1],
        context=masks.context.shape[2],
        targets=masks.targets.shape[1],
        target=masks.targets.shape[2],
    )
    flops = step_flops(encoder, predictor, counts)
    parts = flops.target_encoder + flops.context_encoder + flops.predictor
    assert flops.total == parts
    assert counter.get_total_flops() / 4 == pytest.approx(flops.total, rel=0.06)


def test_checkpointing_needs_less_memory_and_more_tokens_need_more() -> None:
    few = TokenCounts(grid=48, contexts=1, context=12, targets=4, target=8)
    many = TokenCounts(grid=48, contexts=1, context=24, targets=4, target=8)
    plain, frugal = (step_memory(*networks(c), few, "fp32").per_picture for c in (False, True))
    assert frugal < plain < step_memory(*networks(), many, "fp32").per_picture
    assert step_memory(*networks(), few, "bf16").kept < plain


def test_state_is_weights_gradients_moments_and_the_target() -> None:
    encoder, predictor = networks()
    objective = IJepa(IJepa.Settings(), encoder, predictor)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad])
    masks = MultiBlock(MultiBlock.Settings(), encoder.grid)(2, BatchRandom(0, 0))
    batch = Batch(torch.randn(2, 3, 24, 32), masks, torch.full((2,), -1), torch.arange(2))
    objective(batch).loss.backward()
    optimizer.step()
    held = list(objective.parameters())
    held += [p.grad for p in objective.parameters() if p.grad is not None]
    held += [m for s in optimizer.state.values() for m in s.values() if m.ndim]
    assert state_bytes(encoder, predictor) == sum(t.numel() * t.element_size() for t in held)
