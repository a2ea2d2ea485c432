"""The reference implementation's `.pth.tar` files: their names, read and written."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The reference's networks and ours. Inside a network the parameters have the same names.
NETWORKS = {
    "encoder": "context_encoder",
    "predictor": "predictor",
    "target_encoder": "target_encoder",
}
PREFIX = "module."  # the reference saves networks wrapped for several processes

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
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}: give the path of a .pth.tar file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is damaged or not a checkpoint of weights: {error}") from None
    missing = [name for name in NETWORKS if not isinstance(content, dict) or name not in content]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: a checkpoint of the reference holds "
            f"{', '.join(NETWORKS)}"
        )
    networks = {name: without_prefix(content[name]) for name in NETWORKS}
    return ReferenceCheckpoint(networks, content.get("opt"), int(content.get("epoch", 0)))


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
