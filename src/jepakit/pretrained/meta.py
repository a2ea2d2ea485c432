"""The reference implementation's `.pth.tar` files: their names, read and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from jepakit.core.files import written_whole
from jepakit.pretrained.architecture import describe
from jepakit.pretrained.sorting import flattened, sort_tensors
from jepakit.pretrained.tensor_files import read_pickled
from jepakit.pretrained.weights import ENCODER, Description, Weights

# The reference's networks and ours. Inside a network the parameters have the same names.
NETWORKS = {
    "encoder": "context_encoder",
    "predictor": "predictor",
    "target_encoder": "target_encoder",
}
PREFIX = "module."  # the reference saves networks wrapped for several processes

OURS = "jepakit"  # an entry of our own
# What the reference writes beside the networks; nothing of it is needed to use them.
_BESIDE = ("opt", "scaler", "epoch", "loss", "batch_size", "world_size", "lr", OURS)

StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class ReferenceCheckpoint:
    """What a `.pth.tar` holds: networks by the reference's names, without their prefix."""

    networks: dict[str, StateDict]
    optimizer: dict[str, Any] | None
    epoch: int  # epochs done

    def objective_state(self) -> StateDict:
        """The networks as the state of our I-JEPA objective."""
        return {
            f"{NETWORKS[network]}.{name}": tensor
            for network, state in self.networks.items()
            for name, tensor in state.items()
        }


def read_checkpoint(path: Path) -> ReferenceCheckpoint:
    """Read a file of the reference, with or without prefix, on the CPU; no pickled code is run.

    `ValueError` if it is not there, cannot be read, or lacks a network.
    """
    content = read_pickled(path)
    missing = [name for name in NETWORKS if not isinstance(content, dict) or name not in content]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: a checkpoint of the reference holds "
            f"{', '.join(NETWORKS)}"
        )
    networks = {name: without_prefix(content[name]) for name in NETWORKS}
    return ReferenceCheckpoint(networks, content.get("opt"), int(content.get("epoch", 0)))


def read_meta(path: Path) -> Weights:
    """The networks of a `.pth.tar` or any other file of tensors, its architecture inferred.

    With or without prefix, in any floating-point type. `ValueError` if it cannot be read or is no
    I-JEPA; networks that the file lacks are named in `missing`.
    """
    content = read_pickled(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not networks by their names")
    beside = [name for name in content if name in _BESIDE]
    sorted_ = sort_tensors(
        flattened({k: v for k, v in content.items() if k not in beside}), str(path)
    )
    networks = sorted_.networks
    alone = set(networks) == {ENCODER}
    missing = [] if alone else [ours for ours in NETWORKS.values() if ours not in networks]
    return Weights(
        networks=networks,
        description=_own_description(content, path) or describe(networks, str(path)),
        used=sorted_.used,
        unused=sorted_.unused,
        beside=tuple(beside),
        missing=tuple(missing),
    )


def _own_description(content: dict[str, Any], path: Path) -> Description | None:
    try:
        return Description.model_validate_json(content[OURS]) if OURS in content else None
    except ValidationError as error:
        raise ValueError(f"the description in {path} is not valid: {error}") from None


def write_meta(weights: Weights, path: Path) -> None:
    """A `.pth.tar` as the reference's own loader expects it, without an optimizer.

    An entry of our own, which the reference does not look at, says what shapes do not tell.
    """
    networks = {
        theirs: {PREFIX + name: tensor for name, tensor in weights.networks[ours].items()}
        for theirs, ours in NETWORKS.items()
        if ours in weights.networks
    }
    missing = [ours for ours in NETWORKS.values() if ours not in weights.networks]
    if missing:
        raise ValueError(
            f"a .pth.tar of the reference holds both encoders and the predictor, and here there "
            f"is no {' and no '.join(missing)}: choose --to safetensors, huggingface or timm"
        )
    description = weights.description.model_dump_json()
    content = {**networks, "opt": None, "scaler": None, "epoch": 0, OURS: description}
    with written_whole(path) as beside:
        torch.save(content, beside)


def without_prefix(state: StateDict) -> StateDict:
    """The same tensors under their names inside the network."""
    return {name.removeprefix(PREFIX): tensor for name, tensor in state.items()}


def networks_of(objective_state: StateDict) -> dict[str, StateDict]:
    """Our I-JEPA objective's state as the reference's three networks, with their prefix."""
    return {
        theirs: {
            PREFIX + name.removeprefix(f"{ours}."): tensor
            for name, tensor in objective_state.items()
            if name.startswith(f"{ours}.")
        }
        for theirs, ours in NETWORKS.items()
    }
