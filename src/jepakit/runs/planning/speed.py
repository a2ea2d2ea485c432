"""How long a step takes on paper: arithmetic at a share of the peak, and what the network adds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jepakit.core.accelerators import Cluster
from jepakit.core.devices import Precision
from jepakit.models.cost import StepFlops
from jepakit.models.memory import FULL
from jepakit.runs.planning.layouts import Layout, Sizes

# By encoder width: what a compiled step reaches of an H100's 989 TFLOP/s (results/speed-gpu/).
MEASURED_SHARES = {384: 0.238, 768: 0.293, 1024: 0.355, 1280: 0.371}
SHARE_SOURCE = "measured on an H100, results/speed-gpu; measure yours: jepa bench step CONFIG"
BACKWARD = 2 / 3  # of a step's arithmetic; exchanges of gradients can hide behind it
RING = 0.8  # of a link's bandwidth that large collectives reach: an assumption


@dataclass(frozen=True)
class Network:
    """Bandwidths in bytes/s and direction, per device."""

    devices_per_node: int
    between: float

    def bandwidth(self, cluster: Cluster) -> float:
        """That of the slowest link of a ring over all devices."""
        within = cluster.accelerator.within
        return RING * (
            within if cluster.number <= self.devices_per_node else min(within, self.between)
        )


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step."""

    arithmetic: float
    network: float  # if nothing else went on meanwhile
    hidden: float  # of it, behind arithmetic, at best

    @property
    def overlapped(self) -> float:
        """At best: as much of the network as can be is hidden."""
        return self.arithmetic + self.network - self.hidden

    @property
    def one_by_one(self) -> float:
        """At worst: arithmetic waits for the network."""
        return self.arithmetic + self.network


def step_time(
    flops: StepFlops,
    sizes: Sizes,
    layout: Layout,
    cluster: Cluster,
    network: Network,
    per_device: int,
    micro_batch: int,
    precision: Precision,
    share: float,
) -> StepTime:
    """A step of `per_device` pictures on each device, `micro_batch` at a time."""
    peak = cluster.accelerator.peak if precision == "bf16" else cluster.accelerator.full_peak
    learning = flops.context_encoder + flops.predictor
    again = learning / 3 if layout.checkpointing else 0.0  # the forward pass once more
    arithmetic = per_device * (flops.total + again) / (share * peak)
    passes = per_device // micro_batch
    if layout.mode == "ddp":
        exchanged, hideable = all_reduced(sizes, cluster.number), arithmetic / passes * BACKWARD
    else:
        exchanged = passes * gathered_and_scattered(sizes, cluster.number, precision)
        hideable = arithmetic
    seconds = exchanged / network.bandwidth(cluster)
    return StepTime(arithmetic, seconds, min(seconds, hideable))


def all_reduced(sizes: Sizes, count: int) -> float:
    """Bytes through each device's link: a ring all-reduce of fp32 gradients, once per step."""
    return 2 * (count - 1) / count * FULL * sizes.trained


def gathered_and_scattered(sizes: Sizes, count: int, precision: Precision) -> float:
    """Bytes through each device's link per forward and backward pass of FSDP2.

    Weights are gathered for the forward pass and again for the backward pass, the target encoder's
    once; gradients are reduced and scattered in fp32.
    """
    number = 2 if precision == "bf16" else FULL
    weights = number * (2 * sizes.trained + sizes.target)
    return (count - 1) / count * (weights + FULL * sizes.trained)


def parse_share(text: str | None, width: int) -> tuple[float, str]:
    """A share of the peak and where it is from.

    `text`: 0.4, 40%, or a file with the output of `jepa bench step`; None takes the measured one of
    the encoder whose width is nearest.
    """
    if text is None:
        nearest = min(MEASURED_SHARES, key=lambda known: abs(known - width))
        return MEASURED_SHARES[nearest], SHARE_SOURCE
    if Path(text).is_file():
        found = re.search(r"share of the peak\W+([\d.]+)%", Path(text).read_text(encoding="utf-8"))
        if found is None:
            raise ValueError(f"{text} has no 'share of the peak': jepa bench step CONFIG > {text}")
        return float(found[1]) / 100, f"measured, {text}"
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise ValueError(
            f"--share {text!r} is neither a share nor a file: give 0.4, 40%, or a file with the "
            "output of `jepa bench step`"
        )
    return share, "as given"
