"""The networks of a run, what a step of them costs, and how many pictures fit on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from jepakit.core.devices import Precision, autocast, choose_precision
from jepakit.core.distributed import Place
from jepakit.core.randomness import BatchRandom
from jepakit.core.state import State
from jepakit.core.tensors import Batch
from jepakit.masking import Masking, build_masking
from jepakit.models import Encoder, Predictor
from jepakit.models.cost import StepFlops, TokenCounts, step_flops
from jepakit.models.memory import StepMemory, state_bytes, step_memory
from jepakit.models.transformer import attends_fused
from jepakit.objectives import OBJECTIVES, IJepa, Objective
from jepakit.runs.config import RunConfig
from jepakit.runs.device_batch import largest_that_fits
from jepakit.runs.measured import measure_step, state_bytes_of


@dataclass(frozen=True)
class Networks:
    """What is trained, on its device, and what a step of it costs."""

    objective: Objective
    masking: Masking
    flops: StepFlops
    counts: TokenCounts
    memory: StepMemory
    state_bytes: int


def build_networks(config: RunConfig, num_channels: int, device: torch.device) -> Networks:
    """The objective with freshly initialised networks: the same for the same seed."""
    torch.manual_seed(config.seed)
    encoder = Encoder(config.encoder, num_channels, config.data.view.size)
    predictor = Predictor(config.predictor, encoder)
    masking = build_masking(config.masking, encoder.grid)
    counts = usual_tokens(masking, config.seed, _masked_together(config))
    precision = choose_precision(device, config.precision)
    fused = attends_fused(device, torch.bfloat16 if precision == "bf16" else torch.float32)
    objective = OBJECTIVES[config.objective.kind](config.objective, encoder, predictor).to(device)
    if not isinstance(objective, IJepa):
        return _measured(config, objective, masking, counts)
    return Networks(
        objective=objective,
        masking=masking,
        flops=step_flops(encoder, predictor, counts),
        counts=counts,
        memory=step_memory(encoder, predictor, counts, precision, fused),
        state_bytes=state_bytes(encoder, predictor),
    )


def _measured(
    config: RunConfig, objective: Objective, masking: Masking, counts: TokenCounts
) -> Networks:
    """Of an objective for which there are no formulas."""
    batch = _zeros(config, objective, masking, num_pictures=1)
    flops, memory = measure_step(objective, batch)
    return Networks(
        objective=objective,
        masking=masking,
        flops=StepFlops(0.0, 0.0, 0.0, decoder=flops),
        counts=counts,
        memory=memory,
        state_bytes=state_bytes_of(objective),
    )


def _zeros(config: RunConfig, objective: Objective, masking: Masking, num_pictures: int) -> Batch:
    """Grey pictures with masks, on the objective's device."""
    encoder = objective.kept_encoder()
    shape = (num_pictures, encoder.num_channels, *config.data.view.size)
    masks = masking(num_pictures, BatchRandom(config.seed, 0))
    zeros = torch.zeros(num_pictures, dtype=torch.long)
    return Batch(torch.zeros(shape), masks, zeros, zeros).to(next(encoder.parameters()).device)


def _masked_together(config: RunConfig, most: int = 128) -> int:
    """Pictures whose masks are drawn together: the reference's sampler cuts to the shortest."""
    return min(most, config.batch.size if config.batch.device == "auto" else config.batch.device)


def usual_tokens(
    masking: Masking, seed: int, batch_size: int = 2, num_steps: int = 32
) -> TokenCounts:
    """Average numbers of tokens over some steps of the sampler."""
    drawn = [
        TokenCounts.of(masking(batch_size, BatchRandom(seed, step)), masking.grid)
        for step in range(num_steps)
    ]

    def mean(numbers: list[int]) -> int:
        return round(sum(numbers) / len(numbers))

    return replace(
        drawn[0],
        context=mean([counts.context for counts in drawn]),
        target=mean([counts.target for counts in drawn]),
    )


def _largest_device_batch(
    config: RunConfig,
    networks: Networks,
    place: Place,
    device: torch.device,
    precision: Precision,
) -> int:
    """Pictures per device and forward pass."""
    per_process = config.batch.size // place.world_size
    if config.batch.size % place.world_size:
        raise ValueError(
            f"batch.size={config.batch.size} does not divide over {place.world_size} processes: "
            f"set batch.size={max(1, per_process) * place.world_size}"
        )
    if config.batch.device != "auto":
        if per_process % min(config.batch.device, per_process):
            raise ValueError(
                f"batch.device={config.batch.device} does not divide the {per_process} pictures of "
                f"a process: choose a divisor, or batch.device=auto"
            )
        return min(config.batch.device, per_process)

    def trial(num_pictures: int) -> None:
        objective = networks.objective
        batch = _zeros(config, objective, networks.masking, num_pictures)
        with autocast(device, precision):
            loss = objective(batch).loss
        loss.backward()
        objective.zero_grad()

    return largest_that_fits(per_process, networks.memory.per_picture, device, trial)


def choose_device_batch(
    config: RunConfig,
    networks: Networks,
    place: Place,
    device: torch.device,
    precision: Precision,
    state: State | None,
) -> int:
    """As before if the run goes on with as many processes: then it stays bit for bit the same."""
    goes_on = state is not None and state.facts["world_size"] == place.world_size
    if config.batch.device == "auto" and state is not None and goes_on:
        return int(state.facts["device_batch"])
    return _largest_device_batch(config, networks, place, device, precision)
