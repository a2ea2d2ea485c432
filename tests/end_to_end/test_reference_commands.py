"""The reference's command lines on tiny pictures: what they write, and how they end."""

from __future__ import annotations

import csv
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from jepakit.pretrained.meta import read_checkpoint
from jepakit.runs.yaml_file import read_yaml

ROOT = Path(__file__).parents[2]
NUM_PICTURES = 24


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`<root>/faces/train/<class>/*.png`."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(NUM_PICTURES):
        folder = root / "faces" / "train" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (40, 44, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def write_config(folder: Path, pictures: Path, **settings: Any) -> Path:
    """A reference file for a run of seconds; `section__key=value` changes it."""
    content = read_yaml(ROOT / "configs" / "in1k_vith14_ep300.yaml")
    content["data"] |= {"root_path": str(pictures), "image_folder": "faces/", "num_workers": 0}
    content["data"] |= {"batch_size": 4, "crop_size": 32}
    content["logging"] |= {"folder": str(folder / "run"), "write_tag": "tiny"}
    content["mask"] |= {"patch_size": 8, "min_keep": 0}
    content["meta"] |= {"model_name": "vit_tiny", "pred_depth": 1, "pred_emb_dim": 48}
    content["meta"] |= {"use_bfloat16": False}
    content["optimization"] |= {"epochs": 2, "warmup": 1}
    for name, value in settings.items():
        section, key = name.split("__")
        content[section][key] = value
    path = folder / "config.yaml"
    folder.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def start(config: Path, *devices: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "main.py"), "--fname", str(config), "--devices"]
    return subprocess.Popen(
        [*command, *devices],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def train(config: Path, *devices: str) -> str:
    """Train to the end; returns what was said."""
    process = start(config, *devices)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """The folder of a finished run on one device."""
    folder = tmp_path_factory.mktemp("alone")
    train(write_config(folder, pictures), "cpu")
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """The folder of a finished run on two devices."""
    folder = tmp_path_factory.mktemp("together")
    train(write_config(folder, pictures), "cpu", "cpu")
    return folder


@pytest.mark.parametrize(("name", "num_processes"), [("alone", 1), ("together", 2)])
def test_the_references_files_are_written(
    request: pytest.FixtureRequest, name: str, num_processes: int
) -> None:
    folder = request.getfixturevalue(name)
    run = folder / "run"

    steps = NUM_PICTURES // (4 * num_processes)
    expected = [(str(epoch), str(step)) for epoch in (1, 2) for step in range(steps)]
    for rank in range(num_processes):
        log = rows(run / f"tiny_r{rank}.csv")
        assert list(log[0]) == ["epoch", "itr", "loss", "mask-A", "mask-B", "time (ms)"]
        assert [(row["epoch"], row["itr"]) for row in log] == expected
        assert all(0 < float(row["loss"]) < 10 for row in log)
        assert all(0 < int(row["mask-A"]) < 16 > int(row["mask-B"]) > 0 for row in log)
    losses = [[row["loss"] for row in rows(path)] for path in sorted(run.glob("tiny_r*.csv"))]
    assert len(losses) == num_processes
    assert all(column == losses[0] for column in losses)  # the mean over all processes

    assert [path.name for path in run.glob("*.pth.tar")] == ["tiny-latest.pth.tar"]
    content = torch.load(run / "tiny-latest.pth.tar", weights_only=True)
    assert (content["epoch"], content["batch_size"]) == (2, 4)
    assert content["world_size"] == num_processes
    assert len(content["opt"]["param_groups"]) == 4
    assert read_checkpoint(run / "tiny-latest.pth.tar").epoch == 2
    assert yaml.safe_load((run / "params-ijepa.yaml").read_text()) == yaml.safe_load(
        (folder / "config.yaml").read_text()
    )


def test_a_run_continues_from_the_references_checkpoint(
    tmp_path: Path, pictures: Path, alone: Path
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(alone / "run" / "tiny-latest.pth.tar", tmp_path / "run" / "old.pth.tar")
    config = write_config(
        tmp_path,
        pictures,
        optimization__epochs=3,
        meta__load_checkpoint=True,
        meta__read_checkpoint="old.pth.tar",
    )
    said = train(config, "cpu")
    assert "after 2 epochs" in said
    log = rows(tmp_path / "run" / "tiny_r0.csv")
    assert {row["epoch"] for row in log} == {"3"}
    latest = read_checkpoint(tmp_path / "run" / "tiny-latest.pth.tar")
    assert latest.epoch == 3
    assert latest.optimizer is not None
    assert latest.optimizer["state"][0]["step"] == 3 * NUM_PICTURES // 4


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


@pytest.fixture
def long_run(tmp_path: Path, pictures: Path) -> Iterator[subprocess.Popen[str]]:
    """Two processes amid a training of many steps, whose checkpoints need little disk."""
    config = write_config(tmp_path, pictures, optimization__epochs=49, data__batch_size=1)
    process = start(config, "cpu", "cpu")
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "tiny-latest.pth.tar").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield process
    if process.poll() is None:
        process.terminate()
    process.communicate()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_that_dies_ends_the_whole_run(long_run: subprocess.Popen[str], rank: int) -> None:
    processes = children(long_run.pid)
    assert len(processes) == 2
    os.kill(processes[rank], signal.SIGKILL)
    said, _ = long_run.communicate(timeout=60)
    assert long_run.returncode != 0
    assert "on cpu failed" in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_a_run_that_is_asked_to_stop_saves_and_continues(
    tmp_path: Path, long_run: subprocess.Popen[str]
) -> None:
    long_run.send_signal(signal.SIGTERM)
    said, _ = long_run.communicate(timeout=60)
    assert long_run.returncode == 128 + signal.SIGTERM, said
    assert "failed" not in said
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    done = int(checkpoint.name.removeprefix("step-"))
    for rank in (0, 1):
        assert len(rows(tmp_path / "run" / f"tiny_r{rank}.csv")) == done


def test_mistakes_are_told_in_one_sentence(
    tmp_path: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unsupported = write_config(tmp_path, pictures, meta__copy_data=True)
    unfilled = ROOT / "configs" / "in1k_vith14_ep300.yaml"
    elsewhere = write_config(tmp_path / "a", pictures, data__image_folder="moved/")
    flat = write_config(tmp_path / "b", pictures, data__image_folder="faces/train/")
    where = "data.root_path and data.image_folder must name the folder that holds train/<class>/"
    for config, sentence in (
        (unsupported, f"{unsupported}: meta.copy_data: true is not supported"),
        (unfilled, f"{unfilled}: data.root_path ('$YOUR_PATH_TO_IMAGES') and logging.folder ("),
        (elsewhere, f"there is no folder {pictures / 'moved'}: {where}"),
        (flat, f"{pictures / 'faces/train'} holds no folder train: {where}"),
    ):
        words = ["main.py", "--fname", str(config), "--devices", "cpu", "cpu"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"jepa: {sentence}")
