"""Devices by name, and what each of them can do."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import Literal

import psutil
import torch

Precision = Literal["fp32", "bf16"]


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; any other name must exist on this machine."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(f"cuda:{name}" if name.isdigit() else name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}: use cpu, mps, cuda:0, cuda:1, …") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            known = ", ".join(f"cuda:{number}" for number in range(count)) or "no CUDA device"
            raise ValueError(
                f"device {name} does not exist: this machine has {known}, and cpu works everywhere"
            )
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device mps does not exist here: use cpu")
    elif device.type not in ("cpu", "mps"):
        raise ValueError(f"device {name!r} is not supported: use cpu, mps, cuda:0, cuda:1, …")
    return device


def choose_precision(device: torch.device, wanted: Literal["auto", "fp32", "bf16"]) -> Precision:
    """`auto` takes bf16 where the hardware multiplies bf16 matrices, else fp32."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and cpu_multiplies_bf16() else "fp32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """A context in which matrix products run in the run's precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has matrix instructions for bf16 (AMX or AVX-512 BF16)."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def compiles_quickly(device: torch.device) -> bool:
    """Whether torch.compile pays here: on CUDA, with Triton and the C compiler that it needs."""
    compilers = ("cc", "gcc", "clang", os.environ.get("CC", "cc"))
    has_compiler = any(shutil.which(name) for name in compilers)
    return device.type == "cuda" and find_spec("triton") is not None and has_compiler


def free_memory(device: torch.device) -> int:
    """Bytes that are free on the device (on the host for CPU and MPS)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def all_memory(device: torch.device) -> int:
    """Bytes that the device has (the host for CPU and MPS), free or not."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().total


def peak_memory(device: torch.device) -> int:
    """Most bytes used so far: by tensors on CUDA, by this whole process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource
    import sys

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given (for measurements)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
