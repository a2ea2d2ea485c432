"""Weights leave by `jepa export`, and every verb takes them back under their new names."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import jepakit

Jepa = Callable[..., Any]
NUM = 24
WRITTEN = {
    "huggingface": "hf",
    "timm": "timm",
    "meta": "ours.pth.tar",
    "safetensors": "ours.safetensors",
}


@pytest.fixture(scope="module")
def lab(jepa: Jepa, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures of two classes, and the finished run in every form that travels."""
    folder = tmp_path_factory.mktemp("lab")
    random = np.random.default_rng(0)
    for number in range(NUM):
        place = folder / "noise" / ("dim" if number % 2 else "bright")
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 60 if number % 2 else 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:03}.png")
    for form, name in WRITTEN.items():
        words = ("export", finished, name, "--to", form, "--data", "noise")
        command = jepa(*words, folder=folder)
        assert command.wait() == 0, command.said
        assert "largest difference" in command.said
    return folder


@pytest.mark.parametrize("name", WRITTEN.values())
def test_features_and_predictions_are_those_of_the_run(
    jepa: Jepa, lab: Path, finished: Path, name: str
) -> None:
    ours = jepakit.load(finished, device="cpu", precision="fp32")
    theirs = jepakit.load(str(lab / name), device="cpu", precision="fp32")
    pictures = sorted((lab / "noise").rglob("*.png"))[:4]
    np.testing.assert_array_equal(theirs.features(pictures), ours.features(pictures))
    hidden = (8, 8, 16, 16)  # top, left, height, width in pixels
    ours_expects, theirs_expects = (m.predict(pictures, target=hidden) for m in (ours, theirs))
    np.testing.assert_array_equal(theirs_expects.energy, ours_expects.energy)
    out = f"{name}.npy"
    command = jepa("features", lab / name, "--data", "noise", "--out", out, folder=lab)
    assert command.wait() == 0, command.said
    assert np.load(lab / out).shape == (NUM, 32)


def test_what_was_exported_is_evaluated_searched_and_drawn(jepa: Jepa, lab: Path) -> None:
    for name in ("hf", "ours.pth.tar"):
        scored = jepa("evaluate", name, "--data", "noise", "--tasks", "knn", folder=lab)
        assert scored.wait() == 0, scored.said
        drawn = jepa(
            *("visualize", name, "--data", "noise", "--what", "energy", "--out", f"{name}-seen"),
            *("num_pictures=2",),
            folder=lab,
        )
        assert drawn.wait() == 0, drawn.said
        assert (lab / f"{name}-seen" / "index.html").stat().st_size > 1000
    query = next((lab / "noise").rglob("*.png"))
    found = jepa("search", "timm", "--data", "noise", "--query", query, folder=lab)
    assert found.wait() == 0, found.said
    assert query.name in found.said


@pytest.mark.parametrize("name", WRITTEN.values())
def test_training_goes_on_from_what_was_exported(
    jepa: Jepa, lab: Path, tiny: Path, name: str
) -> None:
    """Another size too: positions are resampled."""
    words = (f"init_from.name={lab / name}", "optimization.epochs=1", "data.view.size=48")
    command = jepa("pretrain", tiny, *words, folder=tiny.parent)
    assert command.wait() == 0, command.said
    assert Path(name).name in (tiny.parent / "run" / "log.txt").read_text()


def test_an_export_that_is_killed_leaves_nothing(finished: Path, tmp_path: Path) -> None:
    """And what was there before stays."""
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "jepakit.json").write_text("of an earlier export")
    words = ["export", str(finished), "hf", "--overwrite"]
    started = subprocess.Popen([sys.executable, "-m", "jepakit", *words], cwd=tmp_path)
    while started.poll() is None and len(list(tmp_path.iterdir())) < 2:
        pass
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert (tmp_path / "hf" / "jepakit.json").read_text() == "of an earlier export"


def test_a_file_that_wants_to_run_code_is_refused(jepa: Jepa, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"encoder": Evil()}, tmp_path / "evil.pth.tar")
    for words in (
        ("export", "evil.pth.tar", "out"),
        ("features", "evil.pth.tar", "--data", ".", "--out", "f.npy"),
    ):
        command = jepa(*words, folder=tmp_path)
        assert command.wait() == 2, command.said
        assert "Traceback" not in command.errors
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()
