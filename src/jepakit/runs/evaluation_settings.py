"""Everything that decides what an evaluation does: `jepa evaluate … [key=value]`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from jepakit.core.settings import Settings
from jepakit.data.views import RandomView, Size
from jepakit.evaluation.attentive_probe import AttentiveProbe
from jepakit.evaluation.fine_tuning import FineTuning
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.evaluation.linear_probe import LinearProbe
from jepakit.evaluation.linear_sweep import LinearSweep
from jepakit.evaluation.low_shot import LowShot
from jepakit.runs.subjects import WhichEncoder

Task = Literal[
    "knn",
    "linear",
    "linear_sweep",
    "low_shot",
    "low_shot_fine_tune",
    "attentive",
    "fine_tune",
    "counting",
    "distance",
]


class FeatureSettings(Settings):
    """How pictures become features."""

    batch_size: int = Field(256, ge=1, description="pictures encoded at once")
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="processes that load pictures; auto = 1 on a CPU, else cores - 1"
    )
    num_crops: int = Field(
        0, ge=0, description="random crops per training picture for linear_sweep; 0 = centre views"
    )
    crop_scale: tuple[float, float] = Field((0.08, 1.0), description="share of the area of a crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a left-right flip of a crop")

    def workers(self, device: torch.device) -> int:
        """How many processes load pictures: a GPU waits unless nearly all cores do."""
        if self.num_workers != "auto":
            return self.num_workers
        return 1 if device.type == "cpu" else max(1, min(16, (os.cpu_count() or 1) - 1))

    def crops(self, size: tuple[int, int]) -> RandomView.Settings:
        """The random views of training pictures."""
        return RandomView.Settings(size=size, scale=self.crop_scale, flip=self.flip)


class EvaluationSettings(Settings):
    """Which tasks, on how many pictures, and how each task works."""

    tasks: tuple[Task, ...] = Field(("knn", "linear"), description="what is measured")
    questions: tuple[str, ...] | None = Field(
        None, description="of pictures with several labels; null = the usual ones"
    )
    encoder: WhichEncoder = Field("target", description="of an I-JEPA; both = two rows")
    size: Size | None = Field(
        None, description="height, width of what is seen, in pixels; null = the model's own"
    )
    values: tuple[float, float] | None = Field(
        None, description="of more than 8 bits: these become 0, 255; null = as in the training"
    )
    num_train: int | None = Field(None, ge=10, description="pictures; null = all")
    num_test: int | None = Field(None, ge=10, description="pictures; null = all")
    test_share: float = Field(
        0.2, gt=0, lt=1, description="of a dataset that has no test part of its own"
    )
    seed: int = Field(0, ge=0, description="chooses pictures, held-out parts and intervals")
    seeds: int = Field(1, ge=1, description="repetitions of every task that draws at random")
    duplicates: bool = Field(True, description="look for test pictures that are in training too")
    features: FeatureSettings = FeatureSettings()
    knn: NearestNeighbours.Settings = NearestNeighbours.Settings()
    linear: LinearProbe.Settings = LinearProbe.Settings()
    linear_sweep: LinearSweep.Settings = LinearSweep.Settings()
    low_shot: tuple[LowShot.Settings, ...] = (LowShot.Settings(),)
    low_shot_names: Path | None = Field(
        None, description="file with the names of the low-shot pictures, one per line"
    )
    low_shot_fine_tune: FineTuning.Settings = FineTuning.Settings.low_shot()
    attentive: AttentiveProbe.Settings = AttentiveProbe.Settings()
    fine_tune: FineTuning.Settings = FineTuning.Settings()
