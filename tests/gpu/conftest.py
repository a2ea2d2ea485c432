"""Trainers for the tests of this folder, which need a CUDA device (`make test-gpu`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from jepakit.core.distributed import Place
from jepakit.runs.assemble import assemble
from jepakit.runs.config import RunConfig
from jepakit.runs.yaml_file import check
from jepakit.training.trainer import Trainer

NUM_STEPS = 20


def small(folder: Path, **changes: Any) -> RunConfig:
    """A run of 20 steps on scenes; `section__key=value` changes it."""
    content: dict[str, Any] = {
        "folder": str(folder),
        "precision": "fp32",
        "data": {
            "source": {"kind": "scenes", "num_pictures": 96, "size": 32},
            "view": {"size": 32},
            "num_workers": 2,
        },
        "encoder": {"size": None, "width": 64, "depth": 2, "num_heads": 2, "patch": 4},
        "predictor": {"width": 32, "depth": 2},
        "objective": {"ema": [0.8, 1.0]},
        # A usual eps would blow up the last bits of gradients that are zero in theory.
        "optimization": {"epochs": NUM_STEPS / 3, "warmup_epochs": 0, "eps": 1e-4},
        "batch": {"size": 32},
        "checkpoint": {"every_minutes": None},
        "logging": {"every": 1, "tensorboard": False},
        "monitors": {"probe_train": 16, "probe_test": 16}
        | {name: {"every": 10} for name in ("collapse", "position_collapse", "online_probe")},
    }
    for name, value in changes.items():
        *path, last = name.split("__")
        place = content
        for key in path:
            place = place.setdefault(key, {})
        place[last] = value
    return check(RunConfig, content)


Build = Callable[..., Trainer]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """`build("cuda", **changes)`: a trainer at the beginning of such a run, or where it stopped."""

    def trainer(device: str, name: str = "run", **changes: Any) -> Trainer:
        place = Place.from_environment()
        config = small(tmp_path / name, **changes)
        return assemble(config, place, torch.device(device), Console(quiet=True))[0]

    return trainer
