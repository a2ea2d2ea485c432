"""Known GPUs: memory, arithmetic and how fast they talk to each other."""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

GB = 10**9


class Accelerator(NamedTuple):
    """What a maker's data sheet says; arithmetic is dense, without structured sparsity."""

    memory: int  # bytes that programs see
    peak: float  # FLOP/s of dense matrix products in bf16 (fp16 where there is no bf16)
    memory_bandwidth: float  # bytes/s
    within: float  # bytes/s to the other GPUs of a machine, each direction
    bf16: bool = True  # whether matrix units multiply bf16
    full_peak: float = 0.0  # FLOP/s of fp32 matrix products, without TF32


# Data sheets give NVLink and Infinity Fabric as the sum of both directions; half of it is here.
# PCIe 3.0 x16: 16 GB/s per direction, 4.0: 32 GB/s. Memory: GiB where the sheet's GB are GiB.
ACCELERATORS: dict[str, Accelerator] = {
    # nvidia.com: A100 data sheet (SXM, 40 and 80 GB); NVLink 600 GB/s
    "A100-40G": Accelerator(40 * 2**30, 312e12, 1555 * GB, 300 * GB, full_peak=19.5e12),
    "A100-80G": Accelerator(80 * 2**30, 312e12, 2039 * GB, 300 * GB, full_peak=19.5e12),
    # nvidia.com: H100 data sheet (SXM); 1,979 TFLOP/s with sparsity; NVLink 900 GB/s
    "H100": Accelerator(80 * 2**30, 989e12, 3350 * GB, 450 * GB, full_peak=67e12),
    # nvidia.com: H200 data sheet (SXM); 141 GB; NVLink 900 GB/s
    "H200": Accelerator(141 * GB, 989e12, 4800 * GB, 450 * GB, full_peak=67e12),
    # nvidia.com: HGX B200; 4.5 PFLOP/s with sparsity per GPU, 180 GB usable; NVLink 1.8 TB/s
    "B200": Accelerator(180 * GB, 2250e12, 7700 * GB, 900 * GB, full_peak=75e12),
    # nvidia.com: L40S data sheet; 733 TFLOP/s with sparsity; PCIe 4.0
    "L40S": Accelerator(48 * GB, 362e12, 864 * GB, 32 * GB, full_peak=91.6e12),
    # nvidia.com: V100 data sheet (SXM2 32 GB), fp16; NVLink 300 GB/s
    "V100": Accelerator(32 * 2**30, 125e12, 900 * GB, 150 * GB, False, 15.7e12),
    # nvidia.com: T4 data sheet, fp16; PCIe 3.0
    "T4": Accelerator(16 * 10**9, 65e12, 320 * GB, 16 * GB, False, 8.1e12),
    # nvidia.com: Ada architecture whitepaper, fp32 accumulation; PCIe 4.0
    "RTX4090": Accelerator(24 * 2**30, 165.2e12, 1008 * GB, 32 * GB, full_peak=82.6e12),
    # amd.com: MI300X data sheet; seven Infinity Fabric links of 128 GB/s both ways
    "MI300X": Accelerator(192 * GB, 1307.4e12, 5300 * GB, 448 * GB, full_peak=163.4e12),
}


class Cluster(NamedTuple):
    """So many devices of a kind."""

    number: int
    name: str
    accelerator: Accelerator


def parse_gpus(text: str) -> Cluster:
    """`16xA100-80G`, `8 x H200` or `RTX 4090`; `ValueError` with the nearest name for others."""
    match = re.fullmatch(r"\s*(?:(\d+)\s*[x×*]\s*)?(\S.*?)\s*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"--gpus {text!r} names no GPU: write e.g. --gpus 8xH200")
    number, wanted = int(match[1] or 1), match[2]
    if number < 1:
        raise ValueError(f"--gpus {text!r}: ask for at least one GPU, e.g. --gpus 8x{wanted}")
    known = {_plain(name): name for name in ACCELERATORS}
    key = _plain(wanted)
    if key in known:
        return Cluster(number, known[key], ACCELERATORS[known[key]])
    near = [name for plain, name in known.items() if plain.startswith(key)]
    near = near or [known[plain] for plain in difflib.get_close_matches(key, known, n=2)]
    advice = f"did you mean {' or '.join(near)}?" if near else "choose one of them:"
    raise ValueError(f"unknown GPU {wanted!r}: {advice} Known are {', '.join(ACCELERATORS)}")


def _plain(name: str) -> str:
    """Letters and digits only, `GB` as `G`."""
    return re.sub(r"gb$", "g", re.sub(r"[^a-z0-9]", "", name.lower()))
