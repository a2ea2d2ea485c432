"""What a step of any objective costs and keeps, found by taking one with a single picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from jepakit.core.tensors import Batch
from jepakit.models.memory import StepMemory
from jepakit.objectives import Objective


def measure_step(objective: Objective, batch: Batch) -> tuple[float, StepMemory]:
    """Floating-point operations and bytes per picture of forward and backward, in float32.

    What the backward pass takes beside what was kept is estimated: as much as the largest of it.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in objective.parameters()}
    with (
        torch.random.fork_rng(),
        FlopCounterMode(display=False) as counter,
        saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        objective(batch).loss.backward()
    objective.zero_grad()
    sizes = [size for place, size in kept.items() if place not in weights]
    num_pictures = len(batch.views)
    memory = StepMemory(
        views=batch.views[0].numel() * batch.views.element_size(),
        encoder=0,
        predictor=sum(sizes) // num_pictures,
        results=0,
        gradients=4 * max(sizes, default=0) // num_pictures,
        before=0,
        copies=0,
        copies_kept=0,
        copies_again=0,
    )
    return counter.get_total_flops() / num_pictures, memory


def state_bytes_of(objective: Objective) -> int:
    """Bytes of all parameters, and of gradients and two moments of those that train, all fp32."""
    parameters = list(objective.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return 4 * (sum(p.numel() for p in parameters) + 3 * trained)
