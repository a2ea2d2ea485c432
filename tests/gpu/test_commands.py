"""The commands of a user who has a GPU: train, evaluate, look, hand over; the reference's too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.end_to_end.test_reference_commands import ROOT, write_config

from jepakit import load

pytestmark = pytest.mark.gpu
SHORT = (
    *("encoder.size=null", "encoder.width=64", "encoder.num_heads=2", "encoder.depth=2"),
    *("encoder.patch=8", "predictor.depth=1", "predictor.width=32", "predictor.num_heads=2"),
    *("data.view.size=64", "optimization.epochs=4", "batch.size=16", "data.num_workers=2"),
)


def run(folder: Path, *words: str, **environment: str) -> str:
    """What a command line of Python says; it must end well."""
    kept = {**os.environ, **environment}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def jepa(folder: Path, *words: str, **environment: str) -> str:
    return run(folder, "-m", "jepakit", *words, **environment)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pets/` with two classes, and `runs/pets`, trained on the GPU by `jepa pretrain --data`."""
    folder = tmp_path_factory.mktemp("place")
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("val", 16)):
        for number in range(count):
            kind, brightness = (("cat", 0), ("dog", 150))[number % 2]
            pixels = random.integers(0, 100, (64, 72, 3)) + brightness
            name = folder / "pets" / part / kind / f"{number}.png"
            name.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(name)
    jepa(folder, "pretrain", "--data", "pets", *SHORT)
    log = (folder / "runs/pets/log.txt").read_text()
    assert "stay on cuda" in log  # the pictures: they are few
    return folder


def test_a_run_on_a_gpu_opens_on_a_cpu(place: Path) -> None:
    pictures = [place / "pets/val/cat/0.png", place / "pets/val/dog/1.png"]
    here, there = (
        load(place / "runs/pets", device=device, precision="fp32").features(pictures)
        for device in ("cpu", "cuda")
    )
    assert here.std() > 0.1
    np.testing.assert_allclose(here, there, atol=2e-3)


def test_evaluation_on_a_gpu_agrees_with_one_on_a_cpu(place: Path) -> None:
    tasks = "knn,linear,linear_sweep,attentive,low_shot,low_shot_fine_tune"
    scores = {}
    for device, environment in (("gpu", {}), ("cpu", {"CUDA_VISIBLE_DEVICES": ""})):
        words = ("runs/pets", "--tasks", tasks, "--out", f"scores-{device}")
        jepa(place, "evaluate", *words, **environment)
        found = json.loads((place / f"scores-{device}/scores.json").read_text())["scores"]
        scores[device] = {
            (row, task): score["value"]
            for row, tasks in found.items()
            for task, score in tasks.items()
        }
    assert scores["gpu"].keys() == scores["cpu"].keys()
    assert len(scores["cpu"]) > 12
    for key, value in scores["cpu"].items():
        assert scores["gpu"][key] == pytest.approx(value, abs=0.13), key  # two of 16 pictures


def test_maps_energy_and_expectations_are_drawn(place: Path) -> None:
    what = ("--what", "masks,maps,energy,retrieval", "--out", "seen")
    jepa(place, "visualize", "runs/pets", "--data", "pets", "--split", "val", *what)
    assert len(list((place / "seen").glob("*.png"))) >= 4


def test_the_report(place: Path) -> None:
    jepa(place, "report", "runs/pets")
    assert (place / "runs/pets/report.html").exists()


def test_weights_leave_for_other_libraries(place: Path) -> None:
    jepa(place, "export", "runs/pets", "hf", "--to", "huggingface")
    assert (place / "hf/model.safetensors").exists()


def test_the_reference_command(tmp_path: Path, place: Path) -> None:
    changes = {"data__image_folder": "pets/", "data__num_workers": 2, "data__batch_size": 8}
    config = write_config(tmp_path, place, **changes, meta__use_bfloat16=True)
    words = ("--fname", str(config), "--devices", "cuda:0")
    run(ROOT, str(ROOT / "main.py"), *words)
    names = {path.name for path in (tmp_path / "run").glob("*.pth.tar")}
    assert "tiny-latest.pth.tar" in names


def test_a_step_is_measured(tmp_path: Path) -> None:
    words = ("encoder.size=vit_tiny", "batch.size=64", "data.view.size=64", "encoder.patch=8")
    said = jepa(tmp_path, "bench", "step", *words)
    assert "share of the peak" in said
    assert "cuda" in said.lower() or "NVIDIA" in said
