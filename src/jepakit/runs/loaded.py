"""What a name stands for: networks on a device, and a report of what was read."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from jepakit.data.normalization import Normalizer
from jepakit.models import Encoder, Predictor
from jepakit.models.backbone import Backbone
from jepakit.pretrained.weights import (
    CONTEXT,
    ENCODER,
    PREDICTOR,
    TARGET,
    Branch,
    Description,
    Weights,
)
from jepakit.runs.config import RunConfig
from jepakit.runs.trained import Trained


@dataclass(frozen=True)
class LoadReport:
    """Which tensors were used, which were left, which had to be made up, in the file's names."""

    used: tuple[str, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    sentence: str  # for people: what was opened, and which branch it is


@dataclass(frozen=True)
class Loaded:
    """What a name stands for, on a device."""

    name: str
    encoder: Backbone  # the branch that was asked for
    context_encoder: Encoder | None
    target_encoder: Encoder | None
    predictor: Predictor | None
    branch: Branch | None  # what `encoder` is; None = it has no branches, or it is not recorded
    normalise: Normalizer
    size: tuple[int, int]  # height and width of what it sees, in pixels
    report: LoadReport
    trained: Trained | None = None  # if it is a run
    description: Description | None = None  # None = a network that is not built like ours

    @property
    def config(self) -> RunConfig | None:
        """The run's, if it is one."""
        return self.trained.config if self.trained else None

    @property
    def values(self) -> tuple[float, float] | None:
        """Which stored values became black and white in the training; None = 8 bits, or unknown."""
        return self.description.values if self.description else None

    def weights(self) -> Weights:
        """Its networks as they can be written, the chosen encoder first.

        `ValueError` if it is not built like ours.
        """
        if self.description is None:
            raise ValueError(
                f"{self.name} is not built like an encoder of I-JEPA: it cannot be exported"
            )
        encoder = f"{self.branch}_encoder" if self.branch else ENCODER
        networks: dict[str, nn.Module | None] = {
            encoder: self.encoder,
            TARGET: self.target_encoder,
            CONTEXT: self.context_encoder,
            PREDICTOR: self.predictor,
        }
        states = {
            name: {k: t.detach().cpu() for k, t in network.state_dict().items()}
            for name, network in networks.items()
            if network is not None
        }
        return Weights(states, self.description)
