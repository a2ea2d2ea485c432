"""From Python: arrays in memory are trained on, continued and evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import jepakit
from jepakit.cli import main
from jepakit.core.errors import RunFailed
from jepakit.data.sources.arrays import ArraySource
from jepakit.runs.folder import RunFolder
from jepakit.runs.yaml_file import read_yaml

TINY: dict[str, Any] = {
    "data": {"view": {"size": 24}, "num_workers": 0},
    "encoder": {"size": None, "width": 32, "depth": 1, "num_heads": 1, "patch": 8},
    "predictor": {"width": 16, "depth": 1, "num_heads": 1},
    "masking": {"kind": "random"},
    "batch": {"size": 8},
    "monitors": {"probe_train": 8, "probe_test": 8},
}


def shades() -> tuple[np.ndarray, np.ndarray]:
    """Dark and bright noise, with its class."""
    labels = np.arange(40) % 2
    noise = np.random.default_rng(0).integers(0, 60, (40, 28, 28, 3))
    return (noise + 150 * labels[:, None, None, None]).astype(np.uint8), labels


def train(folder: Path, epochs: float, **more: Any) -> Path:
    pictures, labels = shades()
    lengths = {"epochs": epochs, "warmup_epochs": 0.2}
    return jepakit.pretrain(
        pictures, labels, device="cpu", folder=str(folder), optimization=lengths, **TINY, **more
    )


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path / "cache"))


def test_arrays_are_trained_on_and_evaluated(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", 2)
    assert folder == tmp_path / "run"
    assert "path: memory" in (folder / "config.yaml").read_text()
    assert list((folder / "checkpoints").glob("step-*10"))
    pictures, labels = shades()
    np.savez(tmp_path / "shades.npz", pictures=pictures, labels=labels)
    in_a_file = jepakit.evaluate(
        folder, tmp_path / "shades.npz", ["linear"], features={"num_workers": 0}
    )
    assert in_a_file.value("raw pixels", "linear") == 1.0
    told: list[str] = []
    for given in (pictures, torch.from_numpy(pictures[..., 0])):  # grey ones, too
        found = jepakit.evaluate(
            folder, given, ["linear"], labels=labels, tell=told.append, features={"num_workers": 0}
        )
        assert found.value("raw pixels", "linear") == 1.0
        assert found.pictures == "40 pictures of a program"
        if given is pictures:
            assert found.scores == in_a_file.scores
    with pytest.raises(ValueError, match=r"classes|labels"):
        jepakit.evaluate(folder, pictures, ["linear"], features={"num_workers": 0})


def test_a_finished_run_of_other_pictures_is_not_mixed_up(tmp_path: Path) -> None:
    train(tmp_path / "run", 1)
    others = ArraySource.of(255 - shades()[0])
    with pytest.raises(ValueError, match="the pictures changed"):
        jepakit.pretrain(
            others,
            device="cpu",
            folder=str(tmp_path / "run"),
            optimization={"epochs": 1, "warmup_epochs": 0.2},
            **TINY,
        )


@pytest.mark.parametrize(
    ("kind", "more", "range"),
    [
        (np.uint16, {}, [0, 4000]),
        (np.uint16, {"data.source.values": [0, 2000]}, [0, 2000]),
        (np.float32, {"data.source.values": [0, 2000]}, [0, 2000]),
    ],
)
def test_arrays_of_more_than_8_bits_use_the_values_that_they_hold(
    tmp_path: Path, kind: type, more: dict[str, Any], range: list[int]
) -> None:
    pictures = np.random.default_rng(0).integers(0, 4000, (40, 28, 28)).astype(kind)
    folder = RunFolder(
        jepakit.pretrain(
            pictures,
            **{"device": "cpu", "folder": str(tmp_path / "run"), **TINY, **more},
            optimization={"epochs": 0.4, "warmup_epochs": 0.2},
        )
    )
    source = read_yaml(folder.config)["data"]["source"]
    assert (source["channels"], source["values"]) == (1, range)
    seen = json.loads(folder.statistics.read_text())  # of what the network is given
    assert jepakit.load(folder.path, "cpu").views(pictures)[..., 0].mean() / 255 == pytest.approx(
        seen["mean"][0], abs=0.02
    )
    assert seen["mean"][0] == pytest.approx(0.5 if range[1] == 4000 else 0.75, abs=0.01)


def test_a_grey_run_of_a_program_is_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, _ = shades()
    folder = jepakit.pretrain(
        pictures[..., 0],
        **{"device": "cpu", "folder": str(tmp_path / "run"), **TINY},
        optimization={"epochs": 0.4, "warmup_epochs": 0.2},
    )
    words = ["export", str(folder), str(tmp_path / "a.safetensors"), "--to", "safetensors"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "compared on built-in scenes instead: the run's pictures were in the memory" in told
    assert "built-in scenes in grey" in told


def test_settings_may_be_named_in_full(tmp_path: Path) -> None:
    lengths = {"optimization.epochs": 1, "optimization.warmup_epochs": 0.2, "batch.size": 4}
    folder = jepakit.pretrain(
        shades()[0], device="cpu", folder=str(tmp_path / "run"), **{**TINY, **lengths}
    )
    assert list((folder / "checkpoints").glob("step-*10"))  # forty pictures, four at once


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(ValueError, match="optimisation"):
        jepakit.pretrain(shades()[0], optimisation={"epochs": 1})
    with pytest.raises((ValueError, RunFailed), match="nowhere"):
        jepakit.pretrain("nowhere")
