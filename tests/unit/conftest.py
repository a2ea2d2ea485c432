"""A place as users have one: a run folder and pictures, made in a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import jepakit
from jepakit.core.checkpoint import CheckpointFolder
from jepakit.core.files import write_text
from jepakit.core.state import State
from jepakit.data.normalization import IMAGENET
from jepakit.runs.config import RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.model import Model
from jepakit.runs.networks import build_networks
from jepakit.runs.yaml_file import check, to_yaml

SMALL = {
    "data": {"view": {"size": 32}, "num_workers": 0},
    "encoder": {
        **{"size": None, "width": 32, "depth": 2, "num_heads": 2, "patch": 8},
        "initialisation": "fan_in",
    },
    "predictor": {"width": 16, "depth": 1, "num_heads": 2, "initialisation": "fan_in"},
    "masking": {"kind": "random"},
    "precision": "fp32",
}


def write_run(folder: Path, num_channels: int = 3, **more: object) -> Path:
    """A run folder with one checkpoint, of networks that differ from each other."""
    config = check(RunConfig, {**SMALL, "folder": str(folder), **more})
    objective = build_networks(config, num_channels, torch.device("cpu")).objective
    with torch.no_grad():
        for parameter in objective.kept_encoder().parameters():
            parameter.mul_(1.1)
    tensors = {f"objective/{name}": value for name, value in objective.state_dict().items()}
    statistics = {
        name: [values[0]] * num_channels for name, values in IMAGENET.model_dump().items()
    }
    facts = {"step": 7, "num_channels": num_channels, "normalization": statistics}
    CheckpointFolder(RunFolder(folder).checkpoints, config.checkpoint).save(State(tensors, facts))
    write_text(RunFolder(folder).config, to_yaml(config))
    return folder


def write_pictures(folder: Path) -> None:
    """A dark cat and a bright dog, and six of each in folders by class."""
    random = np.random.default_rng(0)
    for name, brightness in (("cat", 0), ("dog", 150)):
        (folder / "classes" / name).mkdir(parents=True)
        places = [folder / f"{name}.png"]
        places += [folder / "classes" / name / f"{number}.png" for number in range(6)]
        for place in places:
            noise = random.integers(0, 100, (40, 48, 3)) + brightness
            Image.fromarray(noise.astype(np.uint8)).save(place)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runs/my-run` and `pictures`. Only for reading."""
    folder = tmp_path_factory.mktemp("home")
    write_run(folder / "runs" / "my-run")
    write_pictures(folder / "pictures")
    return folder


@pytest.fixture(scope="session")
def new_run() -> Callable[..., Path]:
    """`new_run(folder, num_channels, **settings)` writes another run."""
    return write_run


@pytest.fixture(scope="session")
def model(home: Path) -> Model:
    """The run in `home`, loaded."""
    return jepakit.load(home / "runs" / "my-run", device="cpu")
