"""RunConfig: one run completely described, checked, and frozen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from jepakit.core.checkpoint import CheckpointSettings
from jepakit.core.joining import ProcessSettings
from jepakit.core.settings import Settings
from jepakit.data.normalization import Normalization
from jepakit.data.sources import SourceSettings
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.views import RandomView, Size
from jepakit.masking import MaskingSettings
from jepakit.masking.multiblock import MultiBlock
from jepakit.models import Encoder, Predictor
from jepakit.models.patches import as_pair
from jepakit.objectives import IJepa, ObjectiveSettings
from jepakit.training.metrics_log import LoggingSettings
from jepakit.training.monitors.collapse import Collapse
from jepakit.training.monitors.gradients import Gradients
from jepakit.training.monitors.masks import Masks
from jepakit.training.monitors.online_probe import OnlineProbe
from jepakit.training.monitors.position_collapse import PositionCollapse
from jepakit.training.monitors.target_distance import TargetDistance
from jepakit.training.monitors.throughput import Throughput
from jepakit.training.optimizer import OptimizationSettings
from jepakit.training.reference_outputs import ReferenceOutputSettings


class DataSettings(Settings):
    """Which pictures, and how they are looked at."""

    source: SourceSettings = ProceduralScenes.Settings()
    validation: SourceSettings | None = Field(
        None, description="held-out pictures for the online probe; null = a part of the source"
    )
    view: RandomView.Settings = RandomView.Settings()
    test_size: Size | None = Field(
        None,
        description="height, width at which the encoder is judged, shown and exported; one number "
        "= square; null = view.size",
    )
    normalization: Normalization = Field(
        "imagenet", description="data = measured on the pictures; or mean and std of your own"
    )
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="processes that load; auto = cores - 1 on a GPU, 1 or 0 on a CPU",
    )
    keep_decoded: Literal["auto", "device"] | bool = Field(
        False,
        description="true = decode once, to disk; device = keep all pixels there and cut views "
        "there; auto = what keep_share has room for",
    )
    keep_share: float = Field(
        0.25, gt=0, le=1, description="of the memory, for pixels: when auto keeps them"
    )
    max_broken_share: float = Field(
        0.01, ge=0, le=1, description="the run stops above this share of unreadable pictures"
    )
    allow_changed: bool = Field(
        False, description="continue although the pictures changed since the run began"
    )


class BatchSettings(Settings):
    """How many pictures a step sees, and how many a device holds at once."""

    size: int = Field(2048, ge=1, description="global: over all processes and accumulation")
    device: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="per device and forward pass; auto = the largest that fits"
    )


class MonitorSettings(Settings):
    """How often each monitor looks (`every`, in steps; 0 = never), and at how many pictures."""

    probe_train: int = Field(512, ge=2, description="pictures the online probe learns from")
    probe_test: int = Field(512, ge=2, description="pictures the online probe is judged on")
    collapse: Collapse.Settings = Collapse.Settings()
    position_collapse: PositionCollapse.Settings = PositionCollapse.Settings()
    online_probe: OnlineProbe.Settings = OnlineProbe.Settings()
    masks: Masks.Settings = Masks.Settings()
    target_distance: TargetDistance.Settings = TargetDistance.Settings()
    gradients: Gradients.Settings = Gradients.Settings()
    throughput: Throughput.Settings = Throughput.Settings()


class InitFrom(Settings):
    """Weights to begin with instead of random ones; a name alone stands for `{name: …}`."""

    name: str = Field(min_length=1, description="what `jepakit.load` takes: a run, hf:…, meta:…")
    parts: Literal["encoder", "both"] = Field(
        "encoder", description="both = the predictor too, and each encoder from its own"
    )
    branch: Literal["target", "context"] = Field(
        "target", description="which of its encoders; of no effect for both"
    )
    positions: Literal["resampled", "computed"] = Field(
        "resampled", description="codes for another grid: as at other sizes, or sine-cosine anew"
    )
    revision: str | None = Field(None, description="of a name on a hub")


class RunConfig(Settings):
    """Everything that decides what a run does. The defaults are the paper's recipe."""

    folder: Path = Field(Path("runs/ijepa"), description="where the run writes; continues there")
    seed: int = Field(0, ge=0, description="of everything drawn at random")
    devices: tuple[str, ...] = Field(("auto",), min_length=1, description="one process each")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto = bf16 where the device multiplies it, else fp32"
    )
    compile: bool = Field(False, description="torch.compile, block by block")
    parallel: Literal["auto", "ddp", "fsdp"] = Field(
        "auto", description="ddp = copies on every process; fsdp = spread; auto = by size"
    )
    cpu_offload: bool = Field(
        False, description="fsdp: parameters and optimizer stay in the host's memory; slower"
    )
    processes: ProcessSettings = ProcessSettings()
    data: DataSettings = DataSettings()
    masking: MaskingSettings = MultiBlock.Settings()
    encoder: Encoder.Settings = Encoder.Settings()
    predictor: Predictor.Settings = Predictor.Settings()
    objective: ObjectiveSettings = IJepa.Settings()
    optimization: OptimizationSettings = OptimizationSettings()
    batch: BatchSettings = BatchSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    logging: LoggingSettings = LoggingSettings()
    monitors: MonitorSettings = MonitorSettings()
    init_from: InitFrom | None = Field(
        None, description="weights to begin with: a name, or a name and more"
    )
    reference_outputs: ReferenceOutputSettings | None = Field(
        None, description="also write the reference implementation's log and checkpoints"
    )

    @field_validator("folder")
    @classmethod
    def _without_tilde(cls, folder: Path) -> Path:
        return folder.expanduser()

    @field_validator("init_from", mode="before")
    @classmethod
    def _name_alone(cls, init_from: Any) -> Any:
        return {"name": init_from} if isinstance(init_from, str) else init_from

    @field_validator("devices", mode="before")
    @classmethod
    def _by_name(cls, devices: Any) -> Any:
        """`cpu` for one device, and numbers for CUDA devices."""
        listed = devices if isinstance(devices, (list, tuple)) else [devices]
        return [str(device) for device in listed]

    @model_validator(mode="after")
    def _fits_together(self) -> RunConfig:
        rows, columns = as_pair(self.encoder.patch)
        for name, size in (("view.size", self.data.view.size), ("test_size", self.test_size)):
            height, width = size
            if height % rows or width % columns:
                raise ValueError(
                    f"data.{name}={[height, width]} does not divide into patches of "
                    f"{rows} x {columns}: set data.{name}="
                    f"[{max(1, height // rows) * rows},{max(1, width // columns) * columns}]"
                )
        if self.optimization.warmup_epochs > self.optimization.epochs:
            raise ValueError(
                f"optimization.warmup_epochs={self.optimization.warmup_epochs:g} is longer than "
                f"the run: set it to at most optimization.epochs={self.optimization.epochs:g}"
            )
        return self

    @property
    def test_size(self) -> tuple[int, int]:
        """Height and width at which the encoder is judged, shown and exported."""
        return self.data.test_size or self.data.view.size

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens in a view."""
        (height, width), (rows, columns) = self.data.view.size, as_pair(self.encoder.patch)
        return height // rows, width // columns


# What may differ between two descriptions of the same learning.
FREE_TO_CHANGE = (
    *("folder", "devices", "checkpoint", "logging", "monitors", "reference_outputs"),
    *("batch.device", "data.num_workers", "data.validation", "data.allow_changed"),
    *("data.max_broken_share", "data.test_size"),
)
# What may also differ when a run is continued: how it is computed, and where the pictures are
# (that they are the same ones is seen by their fingerprint).
FREE_TO_CONTINUE = (
    *FREE_TO_CHANGE,
    *("parallel", "cpu_offload", "processes"),
    *("compile", "encoder.checkpointing", "predictor.checkpointing"),
    *("data.source.path", "data.source.root", "data.source.download"),
    *("data.source.index_cache", "data.source.cache", "data.source.retries", "data.source.timeout"),
)


def differences(
    before: RunConfig, now: RunConfig, free: Sequence[str] = FREE_TO_CHANGE
) -> list[str]:
    """`name: before -> now` for each setting that differs and is not free to."""
    old, new = (flat(c.model_dump(mode="json")) for c in (before, now))
    names = sorted(old.keys() | new.keys())
    return [
        f"{name}: {_shown(old.get(name))} -> {_shown(new.get(name))}"
        for name in names
        if old.get(name) != new.get(name)
        and not any(f"{_unmixed(name)}.".startswith(f"{part}.") for part in free)
    ]


def _shown(value: object) -> object:
    return "null" if value is None else value


def _unmixed(name: str) -> str:
    """The name that a setting has where its source is not one of a mixture."""
    return re.sub(r"\.sources\[\d+\]\.source\b", "", name)


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """Values within mappings and lists by their names, like `data.view.size`."""
    found: dict[str, object] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found |= flat({f"{name}[{i}]": item for i, item in enumerate(value)}, prefix)
        else:
            found[prefix + name] = value
    return found
