"""The contract of training methods: one module that owns every network a method trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from jepakit.core.tensors import Batch
from jepakit.models.encoder import Encoder
from jepakit.models.transformer import Block


@dataclass(frozen=True)
class StepOutput:
    """The loss to minimise and what else is worth logging (detached tensors, never numbers)."""

    loss: Float[Tensor, ""]
    logs: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """A training method. It owns all its networks, target networks included."""

    @abstractmethod
    def forward(self, batch: Batch) -> StepOutput:
        """The loss of one micro-batch of normalised views."""

    @abstractmethod
    def update_targets(self, progress: float) -> None:
        """Let target networks follow; called by the trainer after every optimizer step.

        `progress` in [0, 1] is the share of the schedule that was done before the step.
        """

    def compiled_parts(self) -> list[nn.Module]:
        """What `compile=true` compiles, each by itself: parts that are much alike, and deep."""
        return [part for part in self.modules() if isinstance(part, Block)]

    @abstractmethod
    def kept_encoder(self) -> Encoder:
        """The encoder that is evaluated and exported (for I-JEPA the target encoder)."""
