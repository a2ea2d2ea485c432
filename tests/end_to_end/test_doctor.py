"""`jepa doctor`: what can be known before a run starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jepakit.cli import main

Jepa = Callable[..., Any]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JEPAKIT_TRACEBACK", raising=False)


def doctor(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *words])
    return int(ended.value.code or 0)


def test_a_run_that_can_begin(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert doctor(tiny.name, "data.num_workers=0") == 0
    told = capfd.readouterr().out
    for what in ("device", "model", "pictures", "memory", "disk", "time"):
        assert f"│ {what} " in told
    assert "images/s: an epoch takes" in " ".join(told.replace("│", " ").split())
    assert sorted(path.name for path in tiny.parent.iterdir()) == ["tiny.yaml"]  # it left nothing


def test_without_a_config_it_examines_what_would_be_chosen(
    capfd: pytest.CaptureFixture[str],
) -> None:
    small = ["encoder.width=64", "encoder.num_heads=2", "encoder.depth=1", "batch.size=4"]
    small += ["predictor.num_heads=1", "monitors.probe_train=8", "monitors.probe_test=8"]
    small += ["data.num_workers=0", "data.normalization=imagenet"]
    assert doctor(*small) == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "Chosen for these pictures and this device" in told
    assert "no --data given" in told
    assert "│ time " in told


def test_a_run_that_cannot_begin(
    tiny: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jepakit.runs.preflight.free_memory", lambda device: 1000)
    assert doctor(tiny.name, "data.num_workers=0") == 1
    told = capfd.readouterr().out
    assert "not even one fits" in " ".join(told.replace("│", " ").split())
    assert "│ time " not in told


def test_too_many_unreadable_pictures_are_a_finding(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(64):
        path = tmp_path / f"pets/{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (24, 24), (3 * number, 99, 0)).save(path)
        if number % 4 == 0:
            path.write_bytes(b"no picture")
    small = ["encoder.width=32", "encoder.num_heads=2", "encoder.depth=1", "predictor.num_heads=1"]
    words = ["--data", "pets", *small, "data.num_workers=0", "data.normalization=imagenet"]
    few_seen = ["data.keep_decoded=false", "data.max_broken_share=0.2"]
    assert doctor(*words, *few_seen) == 1
    told = " ".join(capfd.readouterr().out.replace("│", " ").split())
    assert "reading stop stopped reading: " in told
    assert "jepa data inspect PICTURES lists all of them" in told
    assert "listed in" not in told


def test_a_folder_that_training_would_refuse_is_a_finding(
    tiny: Path, jepa: Jepa, capfd: pytest.CaptureFixture[str]
) -> None:
    assert jepa("pretrain", tiny.name, folder=tiny.parent).wait() == 0
    assert doctor(tiny.name, "data.num_workers=0") == 0
    finished = " ".join(capfd.readouterr().out.replace("│", " ").split())
    assert "folder mind run: the run there has done all 40 steps; to begin anew" in finished
    saved = tiny.parent / "run" / "checkpoints"
    (saved / "step-00000040").rename(tiny.parent / "kept")
    for older in saved.glob("step-*"):
        older.rename(tiny.parent / older.name)
    (tiny.parent / "kept").rename(saved / "step-00000030")
    assert doctor(tiny.name, "data.num_workers=0") == 0
    goes_on = " ".join(capfd.readouterr().out.replace("│", " ").split())
    assert "folder ok run: the run there goes on from step 30 of 40, with its settings" in goes_on
    for word, why in (
        ("optimization.lr=0.5", "holds a run with other settings (optimization.lr"),
        ("data.source.seed=77", "holds a run with other settings (data.source.seed"),
    ):
        assert doctor(tiny.name, "data.num_workers=0", word) == 1
        refused = " ".join(capfd.readouterr().out.replace("│", " ").split())
        assert f"folder stop run {why}" in refused


def test_a_mistake_is_one_sentence(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert doctor(tiny.name, "batch.sise=3") == 2
    assert "did you mean 'batch.size'?" in capfd.readouterr().err
