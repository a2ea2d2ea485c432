"""What `assemble` adds for `reference_outputs`: the files beside ours, and a start from them."""

from __future__ import annotations

import torch

from jepakit.core.distributed import Place
from jepakit.objectives.objective import Objective
from jepakit.runs.config import RunConfig
from jepakit.runs.reference_yaml import beyond_reference, to_reference
from jepakit.training.optimizer import Schedules
from jepakit.training.reference_outputs import ReferenceOutputs, continue_from_reference


def first_step(
    config: RunConfig, objective: Objective, optimizer: torch.optim.Optimizer, steps_per_epoch: int
) -> int:
    """For a run without a checkpoint of ours: take up the reference's, if the config names one."""
    if config.reference_outputs is None:
        return 0
    return continue_from_reference(
        config.reference_outputs, config.folder, objective, optimizer, steps_per_epoch
    )


def reference_outputs(
    config: RunConfig,
    *,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    schedules: Schedules,
    steps_per_epoch: int,
    device_batch: int,
    place: Place,
    device: torch.device,
) -> list[ReferenceOutputs]:
    """The observer that writes the reference's files; none if they are not asked for."""
    if config.reference_outputs is None:
        return []
    return [
        ReferenceOutputs(
            config.reference_outputs,
            folder=config.folder,
            params=to_reference(config),
            beyond=beyond_reference(config),
            objective=objective,
            optimizer=optimizer,
            steps_per_epoch=steps_per_epoch,
            num_steps=schedules.num_steps,
            device_batch=device_batch,
            flush_every=config.logging.every,
            place=place,
            device=device,
        )
    ]
