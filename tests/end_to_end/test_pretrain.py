"""`jepa pretrain` from the command line to the run folder."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from jepakit.commands.pretrain import train
from jepakit.core.distributed import Place
from jepakit.runs.config import RunConfig
from jepakit.runs.yaml_file import check, read_yaml

Jepa = Callable[..., Any]


def pictures(folder: Path, count: int, side: int = 28, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_what_a_finished_run_leaves(finished: Path) -> None:
    config = check(RunConfig, read_yaml(finished / "config.yaml"))
    assert config.batch.size == 16
    assert config.masking.kind == "multiblock"  # resolved: the file that was given is silent
    names = {path.name for path in (finished / "checkpoints").iterdir()}
    assert names == {"step-00000039", "step-00000040"}
    facts = json.loads((finished / "checkpoints/step-00000040/facts.json").read_text())["facts"]
    assert facts["step"] == 40
    assert facts["device_batch"] == 8
    assert (finished / "log.txt").exists()
    logged = [line.split(",") for line in (finished / "metrics.csv").read_text().splitlines()]
    shares = [float(row[3]) for row in logged if row[2] == "throughput/peak_share"]
    assert len(shares) == 3  # of four looks; at the first one, workers start
    assert all(0 < share < 1 for share in shares)


def test_the_same_command_on_a_finished_run_says_so(
    jepa: Jepa, tiny: Path, finished_copy: Path
) -> None:
    before = (finished_copy / "metrics.csv").read_bytes()
    command = jepa("pretrain", tiny.name, folder=tiny.parent)
    assert command.wait() == 0
    assert "This run is finished: run holds all 40 steps." in command.said
    assert (finished_copy / "metrics.csv").read_bytes() == before
    names = {path.name for path in (finished_copy / "checkpoints").iterdir()}
    assert names == {"step-00000039", "step-00000040"}

    command = jepa("pretrain", tiny.name, "encoder.depth=3", "seed=7", folder=tiny.parent)
    assert command.wait() == 2
    assert "run holds a run with other settings" in command.errors
    assert "encoder.depth: 2 -> 3; seed: 0 -> 7" in command.errors
    assert "folder=NEW" in command.errors


def test_a_second_run_on_the_folder_is_refused(jepa: Jepa, tiny: Path) -> None:
    first = jepa("pretrain", tiny.name, "optimization.epochs=1000", folder=tiny.parent)
    while not (tiny.parent / "run/metrics.csv").exists():
        assert first.is_running(), first.said
    second = jepa("pretrain", tiny.name, "optimization.epochs=1000", folder=tiny.parent)
    assert second.wait() == 2
    assert "another run is writing into run: wait for it, or choose folder=NEW" in second.errors
    assert first.is_running()
    first.kill()


def test_changed_pictures_are_refused_unless_that_is_wanted(jepa: Jepa, tmp_path: Path) -> None:
    pictures(tmp_path / "pets", 10)
    # So small that the whole of it is seconds, yet chosen by itself but for these.
    words = ["encoder.width=64", "encoder.num_heads=2", "encoder.depth=1", "predictor.num_heads=1"]
    words += ["optimization.epochs=2", "checkpoint.every_steps=1", "logging.tensorboard=false"]
    first = jepa("pretrain", "--data", "pets", *words, folder=tmp_path)
    assert first.wait() == 0, first.said
    assert "Chosen for these pictures and this device" in first.said
    assert "10 pictures, shorter side 28 px, on cpu" in " ".join(
        first.said.replace("│", " ").split()
    )
    assert "Finished: runs/pets\nNext: jepa evaluate runs/pets, jepa report" in first.said
    run = tmp_path / "runs/pets"
    shutil.rmtree(run / "checkpoints/step-00000010")
    pictures(tmp_path / "pets", 12, seed=1)

    again = jepa("pretrain", "--data", "pets", *words, folder=tmp_path)
    assert again.wait() == 2
    assert "the pictures changed since the run in" in again.errors
    assert "data.allow_changed=true" in again.errors
    described = (run / "config.yaml").read_text()
    pictures(tmp_path / "cats", 12, seed=2)
    for devices in (["cpu"], ["cpu", "cpu"]):
        given = ["--data", "cats", "folder=runs/pets", "--devices", *devices]
        other = jepa("pretrain", *given, *words, folder=tmp_path)
        assert other.wait() == 2
        assert "the pictures changed since the run in" in other.errors
        assert (run / "config.yaml").read_text() == described  # it learned from pets
    listed = run / "broken_pictures.csv"
    listed.write_text("name,reason\na/repaired.png,it was cut\n")
    wanted = jepa("pretrain", "--data", "pets", *words, "data.allow_changed=true", folder=tmp_path)
    assert wanted.wait() == 0, wanted.said
    assert "continuing at step 9" in wanted.said
    assert not listed.exists()


@pytest.mark.parametrize(
    ("kind", "path", "told"),
    [
        ("folder", "pets", "(pets is looked for in {here}; the run may have begun elsewhere)"),
        ("arrays", "memory", "(the run's pictures were in a program: continue there, with"),
    ],
)
def test_a_config_from_elsewhere_says_where_its_pictures_are_looked_for(
    kind: str, path: str, told: str, tmp_path: Path
) -> None:
    config = {"data": {"source": {"kind": kind, "path": path}}, "folder": str(tmp_path / "a/b")}
    with pytest.raises(ValueError, match=re.escape(told.format(here=Path.cwd()))):
        train(check(RunConfig, config), Place(), Console())
    assert not (tmp_path / "a").exists()


def test_pictures_that_could_not_be_read_are_told_at_the_end(jepa: Jepa, tmp_path: Path) -> None:
    pictures(tmp_path / "pets", 24)
    damaged = sorted((tmp_path / "pets").rglob("*.png"))[5]
    damaged.write_bytes(damaged.read_bytes()[:200])
    words = ["encoder.width=64", "encoder.num_heads=2", "encoder.depth=1", "predictor.num_heads=1"]
    words += ["optimization.epochs=1", "data.max_broken_share=0.1", "logging.tensorboard=false"]
    command = jepa("pretrain", "--data", "pets", *words, folder=tmp_path)
    assert command.wait() == 0, command.said
    told = " ".join(command.said.replace("│", " ").split())
    assert f"1 of 24 looked at cannot be read, e.g. {damaged.name}" in told
    assert "1 of the pictures could not be read: runs/pets/broken_pictures.csv" in command.said


def test_too_many_unreadable_pictures_stop_a_run_before_it_begins(
    jepa: Jepa, tmp_path: Path
) -> None:
    pictures(tmp_path / "pets", 24)
    damaged = sorted((tmp_path / "pets").rglob("*.png"))[:3]
    for path in damaged:
        path.write_bytes(b"no picture")
    words = ["encoder.width=64", "encoder.num_heads=2", "encoder.depth=1", "predictor.num_heads=1"]
    words += ["optimization.epochs=1", "logging.tensorboard=false"]
    command = jepa("pretrain", "--data", "pets", *words, folder=tmp_path)
    assert command.wait() == 3
    assert "3 of 24 looked at cannot be read" in command.errors
    assert "set data.max_broken_share above 0.01" in command.errors
    for path in damaged:
        path.unlink()
    mended = jepa("pretrain", "--data", "pets", *words, folder=tmp_path)
    assert mended.wait() == 0, mended.said
    assert "own settings" not in mended.said  # nothing had begun
    assert not (tmp_path / "runs/pets/broken_pictures.csv").exists()


def test_a_loss_that_is_not_finite_ends_with_code_3(jepa: Jepa, tiny: Path) -> None:
    words = ["optimization.lr=1e30", "optimization.start_lr=1e30", "checkpoint.every_steps=1"]
    command = jepa("pretrain", tiny.name, *words, folder=tiny.parent)
    assert command.wait() == 3
    sentence = command.errors.splitlines()[-1]
    assert "is not finite at step" in sentence
    assert "The batch held 16 pictures, among them scene" in sentence
    assert "Traceback" not in command.said
    newest = max((tiny.parent / "run/checkpoints").iterdir())
    assert all(
        bool(torch.isfinite(value).all())
        for value in load_file(newest / "state.safetensors").values()
        if value.is_floating_point()
    )


def test_two_processes_on_one_machine(jepa: Jepa, tiny: Path) -> None:
    words = ["--devices", "cpu", "cpu", "optimization.epochs=1"]
    command = jepa("pretrain", tiny.name, *words, folder=tiny.parent)
    assert command.wait() == 0, command.said
    assert "on 2 processes" in command.said
    facts = (tiny.parent / "run/checkpoints/step-00000006/facts.json").read_text()
    assert json.loads(facts)["facts"]["world_size"] == 2


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_while_everything_is_being_prepared_ends_quietly(
    jepa: Jepa, tiny: Path, name: str
) -> None:
    command = jepa("pretrain", tiny.name, folder=tiny.parent)
    while not (tiny.parent / "run/.lock").exists():
        assert command.is_running(), command.said
    command.send(signal.Signals[name])
    assert command.wait() == -signal.Signals[name]
    assert "Traceback" not in command.said
