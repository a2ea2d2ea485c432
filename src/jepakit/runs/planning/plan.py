"""The plan of a run on GPUs that are not here: what fits, how fast, how long, at what cost."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepakit.core.accelerators import Cluster, parse_gpus
from jepakit.core.devices import Precision
from jepakit.data.sources import build_source
from jepakit.models.cost import StepFlops
from jepakit.objectives import IJepa
from jepakit.runs.config import RunConfig
from jepakit.runs.device_batch import SHARE_OF_FREE_MEMORY, those_that_fit
from jepakit.runs.networks import Networks
from jepakit.runs.planning.layouts import (
    LAYOUTS,
    DeviceMemory,
    Layout,
    Sizes,
    device_memory,
    on_paper,
    sizes_of,
)
from jepakit.runs.planning.speed import Network, StepTime, step_time
from jepakit.runs.reference_yaml import from_reference, is_reference
from jepakit.runs.yaml_file import apply_overrides, check, read_yaml

IMAGENET = 1_281_167  # training pictures of ImageNet-1k
# The reference's four files begin with the dataset's name; their folders do not tell.
KNOWN_PICTURES = {"in1k_": IMAGENET, "in22k_": 14_197_122}


@dataclass(frozen=True)
class Choice:
    """One layout: what it takes, and how fast it is if it fits."""

    layout: Layout
    micro_batch: int  # of the smallest try where nothing fits
    memory: DeviceMemory
    fits: bool
    time: StepTime


@dataclass(frozen=True)
class Plan:
    """A run on paper."""

    cluster: Cluster
    precision: Precision
    batch: int
    pictures: int
    steps: int
    flops: StepFlops
    sizes: Sizes
    choices: tuple[Choice, ...]

    @property
    def best(self) -> Choice | None:
        """The fastest that fits; the simplest among equals."""
        fitting = [choice for choice in self.choices if choice.fits]
        return min(fitting, key=lambda choice: choice.time.overlapped, default=None)

    def hours(self, choice: Choice) -> float:
        """Of the whole run, the network hidden as far as it can be."""
        return self.steps * choice.time.overlapped / 3600

    def hours_at_worst(self, choice: Choice) -> float:
        """Of the whole run, arithmetic waiting for the network."""
        return self.steps * choice.time.one_by_one / 3600

    def rate(self, choice: Choice) -> float:
        """Images per second on all devices together."""
        return self.batch / choice.time.overlapped


@dataclass(frozen=True)
class Published:
    """What others needed for a recipe."""

    gpus: str
    gpu_hours: float
    where: str


VIT_HUGE = Published("16xA100-80G", 1152.0, "the paper: 72 h on 16 A100")


def published_for(config: RunConfig, pictures: int) -> Published | None:
    """The published cost of this recipe, if there is one: ViT-H/14, ImageNet-1k, 300 epochs."""
    same = (
        config.encoder.size == "vit_huge"
        and config.grid == (16, 16)
        and tuple(config.data.view.size) == (224, 224)
        and config.optimization.epochs == 300
        and pictures == IMAGENET
    )
    return VIT_HUGE if same else None


def read_config(path: Path, overrides: Sequence[str], num_devices: int) -> RunConfig:
    """A config file of ours or the reference's, whose placeholders may still be empty."""
    content = read_yaml(path)
    if is_reference(content):
        for section, key in (("data", "root_path"), ("logging", "folder")):
            if "$" in os.path.expandvars(str(content.get(section, {}).get(key, ""))):
                content[section][key] = "."  # nothing is read or written there
        content = from_reference(content, num_devices).model_dump(mode="json")
    config = check(RunConfig, apply_overrides(content, overrides))
    if not isinstance(config.objective, IJepa.Settings):
        raise ValueError(
            f"plans are made for I-JEPA, and {path} trains a {config.objective.kind}: measure it "
            "with `jepa doctor` on the device"
        )
    return config


def count_pictures(config: RunConfig, path: Path, given: int | None) -> int:
    """As given, or as many as the dataset in the config file's name has, or counted."""
    if given is not None:
        return given
    for name, pictures in KNOWN_PICTURES.items():
        if path.name.startswith(name):
            return pictures
    try:
        return build_source(config.data.source).pictures_per_epoch
    except (ValueError, OSError) as error:
        raise ValueError(f"{error}. Or say how many pictures there are: --pictures N") from None


def make_plan(
    config: RunConfig,
    cluster: Cluster,
    pictures: int,
    share: float,
    network: Network,
) -> Plan:
    """Every layout tried on the cluster."""
    per_device, rest = divmod(config.batch.size, cluster.number)
    if rest:
        size = max(1, per_device) * cluster.number
        raise ValueError(
            f"batch.size={config.batch.size} does not divide over {cluster.number} GPUs: "
            f"set batch.size={size}"
        )
    precision = _precision(config, cluster)
    networks = {again: on_paper(config, precision, again) for again in (False, True)}
    sizes = sizes_of(networks[False].objective)
    choices = [
        _try(config, layout, networks[layout.checkpointing], cluster, network, precision, share)
        for layout in LAYOUTS
        if layout.mode == "ddp" or cluster.number > 1
    ]
    steps_per_epoch = max(1, pictures // config.batch.size)
    return Plan(
        cluster=cluster,
        precision=precision,
        batch=config.batch.size,
        pictures=pictures,
        steps=max(1, round(config.optimization.epochs * steps_per_epoch)),
        flops=networks[False].flops,
        sizes=sizes,
        choices=tuple(choices),
    )


def _precision(config: RunConfig, cluster: Cluster) -> Precision:
    if config.precision == "bf16" and not cluster.accelerator.bf16:
        raise ValueError(f"{cluster.name} does not multiply bf16: set precision=fp32")
    if config.precision != "auto":
        return config.precision
    return "bf16" if cluster.accelerator.bf16 else "fp32"


def _try(
    config: RunConfig,
    layout: Layout,
    networks: Networks,
    cluster: Cluster,
    network: Network,
    precision: Precision,
    share: float,
) -> Choice:
    """A layout with the micro-batch that the config asks for, or else the largest that fits."""
    per_device = config.batch.size // cluster.number
    limit = SHARE_OF_FREE_MEMORY["cuda"] * cluster.accelerator.memory

    def memory(count: int) -> DeviceMemory:
        return device_memory(networks, layout, cluster.number, count, precision)

    most = math.inf if config.batch.device == "auto" else config.batch.device
    fitting = those_that_fit(per_device, lambda n: n <= most and memory(n).total <= limit)
    micro_batch = fitting[0] if fitting else 1
    arguments: tuple[Any, ...] = (per_device, micro_batch, precision, share)
    return Choice(
        layout=layout,
        micro_batch=micro_batch,
        memory=memory(micro_batch),
        fits=bool(fitting),
        time=step_time(
            networks.flops, sizes_of(networks.objective), layout, cluster, network, *arguments
        ),
    )


def beside_published(
    config: RunConfig, published: Published, pictures: int, share: float, network: Network
) -> float:
    """Our estimate in GPU-hours on the GPUs of the published figure."""
    cluster = parse_gpus(published.gpus)
    plan = make_plan(config, cluster, pictures, share, network)
    assert plan.best is not None
    return plan.hours(plan.best) * cluster.number
