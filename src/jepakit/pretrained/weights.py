"""The contract of formats: tensors by our names, and what they do not say about themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from jepakit.core import settings as core
from jepakit.core.state import compare_shapes
from jepakit.data.normalization import IMAGENET, Statistics
from jepakit.models import Encoder, Predictor

StateDict = dict[str, Tensor]
Branch = Literal["target", "context"]
TARGET, CONTEXT, PREDICTOR = "target_encoder", "context_encoder", "predictor"
ENCODER = "encoder"  # one alone, of which nobody wrote down which it is
NETWORKS = (TARGET, CONTEXT, ENCODER, PREDICTOR)


class Description(core.Settings):
    """What tensors alone do not say. Files of ours carry it; for others it is inferred."""

    encoder: Encoder.Settings
    predictor: Predictor.Settings | None = None
    num_channels: int = 3
    size: tuple[int, int]  # height and width of a view, in pixels
    normalization: Statistics = IMAGENET
    # Which stored values became black and white, for pictures of more than 8 bits; None = all.
    values: tuple[float, float] | None = None


@dataclass(frozen=True)
class Weights:
    """Networks (a key of `NETWORKS` each) as parameters by our names, on the CPU."""

    networks: dict[str, StateDict]
    description: Description
    used: tuple[str, ...] = ()  # tensors in the file's own names
    unused: tuple[str, ...] = ()  # tensors that belong to no network of these
    beside: tuple[str, ...] = ()  # what is known to be no network, e.g. the optimizer's state
    missing: tuple[str, ...] = ()  # networks that such a file should hold
    remark: str = ""  # a sentence for people, e.g. which branch a conversion holds


@dataclass(frozen=True)
class Networks:
    """The networks of a file, built."""

    target_encoder: Encoder | None = None
    context_encoder: Encoder | None = None
    encoder: Encoder | None = None
    predictor: Predictor | None = None
    missing: tuple[str, ...] = ()  # parameters that keep a new network's values
    unknown: tuple[str, ...] = ()  # tensors that no parameter took

    def named(self) -> dict[str, nn.Module]:
        """Those that are there, by the names of `NETWORKS`."""
        found = {name: getattr(self, name) for name in NETWORKS}
        return {name: network for name, network in found.items() if network is not None}


def build(weights: Weights, where: str, partial: bool = False) -> Networks:
    """Networks with these weights, in float32 on the CPU.

    `ValueError` if tensors are missing, unknown or of another shape; with `partial` only for the
    last: missing ones then keep the values that a new network has.
    """
    built: dict[str, nn.Module] = {}
    missing, unknown = list(weights.missing), []
    description = weights.description
    for name, state in weights.networks.items():
        with torch.device("meta"):  # no time is spent on values that are replaced at once
            network = _empty(name, description)
        here = network.state_dict()
        if here.keys() - state.keys():
            torch.manual_seed(0)
            network = _empty(name, description)
        missing += [f"{name}.{key}" for key in here.keys() - state.keys()]
        unknown += [f"{name}.{key}" for key in state.keys() - here.keys()]
        given = {key: t.float() for key, t in state.items() if key in here}
        wanted = {k: t for k, t in here.items() if k in given} if partial else here
        differences = compare_shapes(_shapes(wanted), _shapes(given if partial else state))
        if differences:
            told = "" if partial else " (to load what there is, ask for a partial load)"
            raise ValueError(
                f"{where} does not hold a whole {name.replace('_', ' ')}{told}:\n  "
                + "\n  ".join(differences)
            )
        network.load_state_dict(given, strict=False, assign=True)
        built[name] = network.eval()
    return Networks(**built, missing=tuple(missing), unknown=tuple(unknown))  # type: ignore[arg-type]


def _empty(name: str, description: Description) -> nn.Module:
    encoder = Encoder(description.encoder, description.num_channels, description.size)
    if name != PREDICTOR:
        return encoder
    assert description.predictor is not None
    return Predictor(description.predictor, encoder)


def _shapes(state: StateDict) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
