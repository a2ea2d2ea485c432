"""Loss curves of whole tiny runs at full precision: a pure refactoring does not change a bit.

After a change that is meant to change numbers: `JEPAKIT_REGENERATE_GOLDEN=1 pytest tests/golden`,
and say in the commit why. Matrix products differ in their last bits between versions of torch and
kinds of processors, so the curves are compared bit for bit where both are as recorded, and to
1e-4 elsewhere.
"""

from __future__ import annotations

import json
import math
import os
import platform
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from jepakit.core.distributed import Place
from jepakit.runs.assemble import assemble
from jepakit.runs.config import RunConfig
from jepakit.runs.yaml_file import check
from jepakit.training.reporting import Observer, StepRecord

FOLDER = Path(__file__).parent
NUM_STEPS = 20
REGENERATE = os.environ.get("JEPAKIT_REGENERATE_GOLDEN") == "1"

RUNS: dict[str, dict[str, Any]] = {
    "paper": {"objective": {"ema": [0.9, 1.0]}},
    "small_data": {
        "objective": {
            "ema": [0.9, 1.0],
            "ema_cap": 0.98,
            "regulariser": {"kind": "vicreg", "weight": 0.05},
        },
        "encoder": {"initialisation": "depth_rescaled", "checkpointing": True},
        "masking": {"kind": "multiblock", "num_contexts": 2},
        "optimization": {"clip_gradients": 1.0},
        "batch": {"size": 8, "device": 4},
    },
}


def config_of(name: str, folder: Path) -> RunConfig:
    common: dict[str, Any] = {
        "folder": str(folder),
        "devices": ["cpu"],
        "precision": "fp32",
        "data": {
            "source": {"kind": "scenes", "num_pictures": 40, "size": 24},
            "view": {"size": 24},
            "num_workers": 0,
        },
        "encoder": {"size": None, "width": 16, "depth": 2, "num_heads": 2, "patch": 4},
        "predictor": {"width": 8, "depth": 2},
        "optimization": {"epochs": NUM_STEPS / 5, "warmup_epochs": 1},
        "batch": {"size": 8},
        "logging": {"tensorboard": False},
        "monitors": {"probe_train": 2, "probe_test": 2},
    }
    for section, values in RUNS[name].items():
        common[section] = {**common.get(section, {}), **values}
    return check(RunConfig, common)


class Curve(Observer):
    """Collects the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def start(self, step: int) -> None:
        assert step == 0

    def step_done(self, record: StepRecord) -> None:
        self.losses.append(record.loss.item())

    def close(self) -> None:
        pass


def losses_of(name: str, folder: Path) -> list[float]:
    config = config_of(name, folder)
    trainer, _ = assemble(config, Place(), torch.device("cpu"), Console(quiet=True))
    curve = Curve()
    trainer.observers = [*trainer.observers, curve]
    assert trainer.run()
    return curve.losses


def circumstances() -> dict[str, str]:
    """What the last bits depend on."""
    capabilities = torch.cpu.get_capabilities()
    flags = sorted(name for name, value in capabilities.items() if value is True)
    return {
        "torch": torch.__version__,
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "processor": f"{platform.machine()} {' '.join(flags)}",
    }


@pytest.mark.parametrize("name", RUNS)
def test_loss_curve(name: str, tmp_path: Path) -> None:
    losses = losses_of(name, tmp_path)
    assert len(losses) == NUM_STEPS
    assert all(map(math.isfinite, losses))
    golden = FOLDER / f"{name}.json"
    if REGENERATE:
        curve = {"circumstances": circumstances(), "losses": [loss.hex() for loss in losses]}
        golden.write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")
    recorded = json.loads(golden.read_text(encoding="utf-8"))
    expected = [float.fromhex(text) for text in recorded["losses"]]
    if recorded["circumstances"] == circumstances():
        assert losses == expected
    else:
        assert losses == pytest.approx(expected, rel=1e-4)
