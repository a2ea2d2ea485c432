"""Files of tensors, read without running any code that lies in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from jepakit.pretrained.weights import StateDict


def read_safetensors(path: Path) -> tuple[StateDict, dict[str, str]]:
    """The tensors of a safetensors file and its header's texts; `ValueError` if it is damaged."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give the path of a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from None


def read_pickled(path: Path) -> Any:
    """What a file of `torch.save` holds, on the CPU; `ValueError` if it is damaged.

    Tensors and plain values only: a file that wants to run code is refused, and none is run.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}: give the path of a .pth.tar file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is damaged or not a checkpoint of weights: {reason}") from None
