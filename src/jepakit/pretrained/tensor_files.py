"""Files of tensors, read without running any code that lies in them."""

from __future__ import annotations

import pickle
import re
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
    if path.suffix in (".onnx", ".pt2"):
        raise ValueError(
            f"{path} is for other programs and is not read again: give what it was exported from"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        if found := _CODE.search(str(error)):
            raise ValueError(
                f"{path} holds more than tensors ({found[1]}), and code in files is never run: "
                "save the tensors alone, e.g. with safetensors"
            ) from None
        raise ValueError(
            f"{path} is damaged, or no file of tensors: give a .pth.tar or .safetensors file"
        ) from None


# What the unpickler raises of bytes that are no pickle, or a damaged one.
_UNREADABLE = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError),
    *(AttributeError, ArithmeticError, ImportError, OSError, AssertionError, MemoryError),
)
# How torch's restricted reader names what it does not let in.
_CODE = re.compile(r"(?:GLOBAL |Unsupported global: GLOBAL |class )([\w.]+)")
