"""Memory from shapes, against storages that torch holds while it computes.

Real tensors at small sizes; at the paper's, torch's fake tensors, which have sizes but no values.
What GPUs do is computed on the CPU through the same fused attention; their allocator's rounding
and the kernels' workspaces are not in it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jepakit.core.devices import Precision, autocast
from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch, MaskIndices
from jepakit.masking.multiblock import MultiBlock
from jepakit.models import Encoder, Predictor, transformer
from jepakit.models.cost import TokenCounts
from jepakit.models.memory import state_bytes, step_memory
from jepakit.objectives import IJepa
from jepakit.training.optimizer import OptimizationSettings, build_optimizer

CPU = torch.device("cpu")
# width, depth, heads, patch, side, predictor's width, depth, contexts, pictures
TINY = (64, 4, 4, 8, 64, 32, 3, 1, 8)
SMALL = (96, 3, 3, 8, 96, 48, 2, 2, 3)
BASE = (768, 12, 12, 16, 224, 384, 6, 1, 32)
HUGE = (1280, 32, 16, 14, 224, 384, 12, 1, 128)
WAYS = [("fp32", True), ("bf16", False), ("bf16", True)]
Sizes = tuple[int, ...]


class LiveMemory(TorchDispatchMode):
    """While entered: bytes of all storages alive, and the most there were (`peak`)."""

    def __init__(self, held: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0
        for tensor in held:
            self._see(tensor)

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self.sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf)
        return output


class SavedTensors(saved_tensors_hooks):
    """While entered: the storages that autograd keeps for the backward pass, each once."""

    def __init__(self, but_for: Iterable[torch.Tensor]) -> None:
        self._sizes: dict[int, int] = {}
        self._alive: list[torch.Tensor] = []  # so that no address is used twice
        self._excluded = {tensor.untyped_storage().data_ptr() for tensor in but_for}
        super().__init__(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in self._excluded:
            self._alive.append(tensor)
            self._sizes[place] = tensor.untyped_storage().nbytes()
        return tensor

    @property
    def total(self) -> int:
        """Bytes kept so far."""
        return sum(self._sizes.values())


@pytest.fixture(params=WAYS, ids=["fp32", "bf16-parts", "bf16-fused"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Precision, bool]:
    precision, fused = request.param
    if fused:  # as on GPUs; by itself the CPU takes it in fp32 only
        monkeypatch.setattr(transformer, "attend", F.scaled_dot_product_attention)
    return precision, fused


def build(sizes: Sizes, checkpointing: bool) -> tuple[IJepa, Batch, TokenCounts]:
    width, depth, heads, patch, side, narrow, deep, contexts, count = sizes
    encoder = Encoder(
        Encoder.Settings(
            size=None,
            **{"width": width, "depth": depth, "num_heads": heads},
            **{"patch": patch, "checkpointing": checkpointing},
        ),
        3,
        (side, side),
    )
    predictor = Predictor(
        Predictor.Settings(width=narrow, depth=deep, checkpointing=checkpointing), encoder
    )
    masks = MultiBlock(MultiBlock.Settings(num_contexts=contexts), encoder.grid)(
        1, BatchRandom(0, 0)
    )
    kept, hidden = masks.context.shape[2], masks.targets.shape[1:]
    again = MaskIndices(  # which tokens they are does not matter
        torch.zeros(count, contexts, kept, dtype=torch.long),
        torch.zeros(count, *hidden, dtype=torch.long),
    )
    labels = torch.zeros(count, dtype=torch.long)
    batch = Batch(torch.zeros(count, 3, side, side), again, labels, labels)
    counts = TokenCounts((side // patch) ** 2, contexts, kept, *hidden)
    return IJepa(IJepa.Settings(), encoder, predictor), batch, counts


def loss(objective: IJepa, batch: Batch, precision: Precision) -> torch.Tensor:
    with autocast(CPU, precision):
        return objective(batch).loss


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("sizes", [TINY, SMALL], ids=["tiny", "small"])
def test_what_autograd_keeps_is_what_the_formula_says(
    sizes: Sizes, checkpointing: bool, way: tuple[Precision, bool]
) -> None:
    objective, batch, counts = build(sizes, checkpointing)
    saved = SavedTensors(objective.parameters())
    with saved:
        loss(objective, batch, way[0])
    memory = step_memory(objective.context_encoder, objective.predictor, counts, *way)
    expected = len(batch.views) * memory.kept + memory.copies_kept
    assert expected == pytest.approx(saved.total, rel=0.002)


def measured_peak(objective: IJepa, batch: Batch, precision: Precision) -> int:
    """The most bytes alive in a forward and backward pass, gradients and moments included."""
    optimizer = build_optimizer(objective, OptimizationSettings(), CPU)
    loss(objective, batch, precision).backward()
    optimizer.step()
    held = [*objective.parameters(), *objective.buffers(), batch.views]
    held += [p.grad for p in objective.parameters() if p.grad is not None]
    held += [moment for state in optimizer.state.values() for moment in state.values()]
    tracked = LiveMemory(held)
    with tracked:
        loss(objective, batch, precision).backward()
    return tracked.peak


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # by deepcopy
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("sizes", "real"),
    [
        pytest.param(TINY, True, id="tiny"),
        pytest.param(BASE, False, id="base"),
        pytest.param(HUGE, False, id="huge", marks=pytest.mark.slow),
    ],
)
def test_the_peak_lies_within_ten_percent(
    sizes: Sizes,
    real: bool,
    checkpointing: bool,
    way: tuple[Precision, bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not real:  # values do not exist: none can be drawn, and copies belong to the same world
        monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor)
        monkeypatch.setattr(FakeTensorMode, "__deepcopy__", lambda mode, memo: mode, raising=False)
    with nullcontext() if real else FakeTensorMode():
        objective, batch, counts = build(sizes, checkpointing)
        measured = measured_peak(objective, batch, way[0])
    encoder, predictor = objective.context_encoder, objective.predictor
    memory = step_memory(encoder, predictor, counts, *way)
    expected = state_bytes(encoder, predictor) + memory.peak(len(batch.views))
    assert expected == pytest.approx(measured, rel=0.1)


def test_the_fused_attention_never_holds_the_attention_matrix() -> None:
    objective, _, counts = build(SMALL, False)
    encoder, predictor = objective.context_encoder, objective.predictor
    more = TokenCounts(2 * counts.grid, 2, 2 * counts.context, 4, 2 * counts.target)
    fused = [step_memory(encoder, predictor, c, "bf16", True).kept for c in (counts, more)]
    parts = [step_memory(encoder, predictor, c, "bf16", False).kept for c in (counts, more)]
    assert fused[1] == pytest.approx(2 * fused[0], rel=1e-6)
    assert parts[1] > 2.05 * parts[0]
