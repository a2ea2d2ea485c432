"""A small run that looks at a few scenes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.settings import SeeingSettings
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import check

FEW = {
    "num_pictures": 3,
    "energy": {"usual": 4, "masks": 9},
    "retrieval": {"gallery": 12, "neighbours": 2},
    "anomaly": {"pictures": 6},
}


@pytest.fixture
def looking(home: Path) -> Looking:
    """The run in `home` looks at scenes."""
    device = torch.device("cpu")
    loaded = load_weights(str(home / "runs" / "my-run"), device)
    source = ProceduralScenes(ProceduralScenes.Settings(num_pictures=60, size=(32, 32)))
    return Looking(loaded, source, loaded.size, check(SeeingSettings, FEW), device, "fp32")
