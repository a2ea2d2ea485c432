"""What would go wrong in the night is said before a run."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console

from jepakit.core.distributed import Place
from jepakit.core.errors import RunFailed
from jepakit.data.sources import BrokenPicture
from jepakit.data.sources.decoded import DecodedSource
from jepakit.runs import preflight
from jepakit.runs.assemble import assemble
from jepakit.runs.config import RunConfig
from jepakit.runs.networks import Networks
from jepakit.runs.preflight import Finding, examine, time_needed
from jepakit.runs.yaml_file import check
from jepakit.training.trainer import Trainer

Parts = tuple[RunConfig, Trainer, Networks]


@pytest.fixture
def parts(tmp_path: Path) -> Any:
    config = check(
        RunConfig,
        {
            "folder": str(tmp_path),
            "precision": "fp32",
            "data": {
                "source": {"kind": "scenes", "num_pictures": 16, "size": 24},
                "view": {"size": 24},
                "num_workers": 0,
            },
            "encoder": {"size": None, "width": 16, "depth": 1, "num_heads": 2, "patch": 8},
            "predictor": {"width": 16, "depth": 1, "num_heads": 2},
            "optimization": {"epochs": 1, "warmup_epochs": 0},
            "batch": {"size": 4, "device": 2},
            "logging": {"tensorboard": False},
            "monitors": {"probe_train": 4, "probe_test": 4},
        },
    )
    trainer, networks = assemble(config, Place(), torch.device("cpu"), Console(file=io.StringIO()))
    yield config, trainer, networks
    trainer.close()


def finding(parts: Parts, what: str) -> Finding:
    return next(found for found in examine(*parts) if found.what == what)


def test_a_run_that_can_begin(parts: Parts) -> None:
    findings = examine(*parts)
    assert [found.what for found in findings] == ["device", "model", "pictures", "memory", "disk"]
    assert {found.verdict for found in findings} <= {"ok", "mind"}
    assert "cpu" in findings[0].words
    assert "precision fp32" in findings[0].words
    assert "grid 3 x 3" in findings[1].words
    assert "16 pictures, 8 classes, 4 steps of 4 per epoch" in findings[2].words
    assert "for 2 pictures at once" in findings[3].words


def test_the_time_is_measured_even_of_a_short_run(parts: Parts) -> None:
    found = time_needed(parts[1])
    assert found.what == "time"
    assert "images/s: an epoch takes" in found.words


def test_memory_that_is_too_short_stops_the_run(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = parts[2]
    one = networks.state_bytes + networks.memory.peak(1)
    monkeypatch.setattr(preflight, "free_memory", lambda device: one / 0.89)
    found = finding(parts, "memory")
    assert found.verdict == "stop"
    assert "set batch.device=1" in found.words
    with pytest.raises(RunFailed, match=r"set batch\.device=1"):
        preflight.preflight(*parts, Console(file=io.StringIO()))


def test_memory_that_is_too_short_for_one_picture(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "free_memory", lambda device: 1000)
    found = finding(parts, "memory")
    assert (found.verdict, "not even one fits" in found.words) == ("stop", True)


class Usage(NamedTuple):
    free: int


def test_a_disk_that_is_too_small_stops_the_run(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: Usage(1000))
    assert finding(parts, "disk").verdict == "stop"


@pytest.mark.parametrize(
    ("share", "allowed", "verdict"),
    [(0.5, 0.6, "mind"), (0.5, 0.4, "stop"), (1.0, 1.0, "stop")],
)
def test_pictures_that_cannot_be_read_are_told(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, share: float, allowed: float, verdict: str
) -> None:
    data = parts[0].data.model_copy(update={"max_broken_share": allowed})
    parts = (parts[0].model_copy(update={"data": data}), *parts[1:])
    source = parts[1].source
    sample = source.sample

    def broken(index: int) -> Any:
        if index < share * len(source):
            raise BrokenPicture(f"{index}.png", "it is cut")
        return sample(index)

    monkeypatch.setattr(source, "sample", broken)
    found = finding(parts, "pictures")
    assert found.verdict == verdict
    assert "looked at cannot be read, e.g." in found.words
    assert "it is cut" in found.words
    assert ("regulariser.kind=vicreg" in found.words) == (verdict == "mind")  # nothing is hidden


def test_few_pictures_without_a_regulariser_are_worth_a_word(parts: Parts) -> None:
    config = parts[0]
    assert config.objective.regulariser.kind == "none"
    found = finding(parts, "pictures")
    assert found.verdict == "mind"
    assert "objective.regulariser.kind=vicreg" in found.words


def test_so_few_pictures_that_little_is_learned_are_worth_a_word(parts: Parts) -> None:
    config, trainer, networks = parts
    regulariser = config.objective.regulariser.model_copy(update={"kind": "vicreg"})
    objective = config.objective.model_copy(update={"regulariser": regulariser})
    changed = config.model_copy(update={"objective": objective})
    found = finding((changed, trainer, networks), "pictures")
    assert (found.verdict, "less than an untrained one" in found.words) == ("mind", True)


def test_of_decoded_pictures_all_broken_ones_are_known(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scenes = parts[1].source
    sample = scenes.sample

    def broken(index: int) -> Any:
        if index == 3:
            raise BrokenPicture("3.png", "it is cut")
        return sample(index)

    monkeypatch.setattr(scenes, "sample", broken)
    monkeypatch.setattr(parts[1], "source", DecodedSource(scenes, tmp_path))
    found = finding(parts, "pictures")
    assert "1 of 16 looked at cannot be read, e.g. 3.png: it is cut" in found.words


def test_a_cpu_that_emulates_bf16_is_worth_a_word(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts[1].precision = "bf16"
    monkeypatch.setattr(preflight, "cpu_multiplies_bf16", lambda: False)
    assert "fp32 is faster" in finding(parts, "device").words
    assert SimpleNamespace(**vars(finding(parts, "device"))).verdict == "mind"
