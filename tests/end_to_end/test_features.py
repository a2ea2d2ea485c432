"""`jepa features` is killed and goes on, and may use several processes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Jepa = Callable[..., Any]
NUM = 600  # three parts


def write_noise(folder: Path) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(NUM):
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png", compress_level=0)


def test_what_was_killed_goes_on_also_on_more_devices(
    jepa: Jepa, finished: Path, tmp_path: Path
) -> None:
    write_noise(tmp_path / "noise")
    words = ["features", finished, "--data", "noise", "--workers", 0, "--batch-size", 4]
    first = jepa(*words, "--out", "f.npy", folder=tmp_path)
    parts = tmp_path / "f.npy.parts"
    while first.is_running() and not list(parts.glob("*.json")):
        pass
    first.kill()
    assert not (tmp_path / "f.npy").exists()
    again = jepa(*words, "--out", "f.npy", "--devices", "cpu", "cpu", folder=tmp_path)
    assert again.wait() == 0, again.said
    made = re.search(r"([\d,]+) pictures in", again.said)
    assert made is not None, again.said
    assert 0 < int(made[1]) < NUM
    assert not parts.exists()
    whole = jepa(*words, "--out", "g.npy", folder=tmp_path)
    assert whole.wait() == 0, whole.said
    found = np.load(tmp_path / "f.npy")
    assert found.shape == (NUM, 32)
    np.testing.assert_array_equal(found, np.load(tmp_path / "g.npy"))
    assert (tmp_path / "f.npy.csv").read_text() == (tmp_path / "g.npy.csv").read_text()


def test_ctrl_c_is_obeyed(jepa: Jepa, finished: Path, tmp_path: Path) -> None:
    write_noise(tmp_path / "noise")
    words = ["features", finished, "--data", "noise", "--workers", 0, "--batch-size", 4]
    command = jepa(*words, "--out", "f.npy", folder=tmp_path)
    parts = tmp_path / "f.npy.parts"
    while command.is_running() and not list(parts.glob("*.json")):
        pass
    command.send(2)
    assert command.wait() == 130, command.said
    assert "stopped; the same command goes on" in command.said
    assert not (tmp_path / "f.npy").exists()
