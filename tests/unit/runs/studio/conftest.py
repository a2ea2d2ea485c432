"""A studio of two small runs that look at a few scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.settings import SeeingSettings
from jepakit.runs.studio.opening import studio_of
from jepakit.runs.studio.visit import Studio
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import check

FEW = {
    "num_pictures": 3,
    "energy": {"masks": 9},
    "retrieval": {"gallery": 12, "neighbours": 2},
}


@pytest.fixture(scope="session")
def other_run(new_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose patches are half as wide: a grid of 8 x 8."""
    encoder = {"size": None, "width": 32, "depth": 1, "num_heads": 2, "patch": 4}
    return new_run(tmp_path_factory.mktemp("other") / "finer", encoder=encoder)


@pytest.fixture
def looks(home: Path, other_run: Path) -> list[Looking]:
    """Both before the same scenes."""
    device = torch.device("cpu")
    source = ProceduralScenes(ProceduralScenes.Settings(num_pictures=60, size=(32, 32)))
    settings = check(SeeingSettings, FEW)
    loaded = [load_weights(str(path), device) for path in (home / "runs" / "my-run", other_run)]
    return [Looking(one, source, one.size, settings, device, "fp32") for one in loaded]


@pytest.fixture
def studio(looks: list[Looking]) -> Studio:
    """Two models with all their networks, on grids of 4 x 4 and 8 x 8."""
    return studio_of(looks)


@pytest.fixture
def without_predictor(looks: list[Looking]) -> Looking:
    """An encoder alone."""
    loaded = replace(looks[0].loaded, predictor=None, context_encoder=None)
    return replace(looks[0], loaded=loaded)
