"""What lies on each GPU: copies (DDP) or shares (FSDP2) of the networks, and activations."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch

from jepakit.core.devices import Precision
from jepakit.models.memory import FULL
from jepakit.objectives.objective import Objective
from jepakit.runs.config import RunConfig
from jepakit.runs.networks import Networks, build_networks

Mode = Literal["ddp", "fsdp"]
IN_FLIGHT = 2  # blocks that FSDP2 holds whole: the one at work and the one fetched ahead


@dataclass(frozen=True)
class Layout:
    """How the networks lie on the devices."""

    mode: Mode
    checkpointing: bool

    @property
    def name(self) -> str:
        """For tables."""
        words = {"ddp": "DDP", "fsdp": "FSDP2"}[self.mode]
        return f"{words}, checkpointing" if self.checkpointing else words


LAYOUTS = tuple(Layout(mode, again) for mode in ("ddp", "fsdp") for again in (False, True))  # type: ignore[arg-type]


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on one device at the peak of a step."""

    parameters: float
    gradients: float
    optimizer: float
    target: float  # the moving average
    gathered: float  # FSDP2: blocks that are whole for a moment
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Sizes:
    """Numbers of parameters."""

    trained: int
    target: int
    block: int  # the largest


def on_paper(config: RunConfig, precision: Precision, checkpointing: bool) -> Networks:
    """The run's networks without values: only shapes, so any size is built at once."""
    update = {"checkpointing": checkpointing}
    changed = config.model_copy(
        update={
            "precision": precision,
            "encoder": config.encoder.model_copy(update=update),
            "predictor": config.predictor.model_copy(update=update),
        }
    )
    channels = getattr(config.data.source, "channels", 3)
    with torch.device("meta"):
        return build_networks(changed, channels, torch.device("meta"))


def sizes_of(objective: Objective) -> Sizes:
    """The parameters of all networks of a method."""
    parameters = list(objective.parameters())
    blocks = objective.kept_encoder().blocks
    return Sizes(
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        target=sum(p.numel() for p in parameters if not p.requires_grad),
        block=sum(p.numel() for p in blocks[0].parameters()),
    )


def device_memory(
    networks: Networks,
    layout: Layout,
    num_devices: int,
    num_pictures: int,
    precision: Precision,
) -> DeviceMemory:
    """The peak of a step of `num_pictures` per device and forward pass.

    Weights, gradients, AdamW's two moments and the moving average are fp32. With FSDP2 each device
    holds its share; blocks are gathered in the run's precision, which then are the copies that
    autocast would make, and their gradients are reduced in fp32.
    """
    sizes, memory = sizes_of(networks.objective), networks.memory
    spread = layout.mode == "fsdp" and num_devices > 1
    share = num_devices if spread else 1
    number = 2 if precision == "bf16" else FULL
    if spread:
        memory = replace(memory, copies=0, copies_kept=0, copies_again=0)
    return DeviceMemory(
        parameters=FULL * sizes.trained / share,
        gradients=FULL * sizes.trained / share,
        optimizer=2 * FULL * sizes.trained / share,
        target=FULL * sizes.target / share,
        gathered=float(IN_FLIGHT) * sizes.block * (2 * number + FULL) if spread else 0.0,
        activations=float(memory.peak(num_pictures)),
    )
