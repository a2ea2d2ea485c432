"""A run on this machine as `jepa status` shows it and `jepa stop` ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.end_to_end.conftest import Jepa, wait_until

from jepakit.runs.run_state import run_state

ENDLESS = ("optimization.epochs=100000", "data.num_workers=0")


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_a_run_is_seen_stopped_and_continued(
    jepa: Jepa, tiny: Path, tmp_path: Path, devices: list[str]
) -> None:
    words = ("pretrain", tiny, "--devices", *devices)
    training = jepa(*words, *ENDLESS, folder=tmp_path)
    wait_until(lambda: run_state(tmp_path / "run").step >= 3)
    status = jepa("status", "run", folder=tmp_path)
    assert status.wait() == 0, status.said
    assert "  running (process " in status.output
    stop = jepa("stop", "run", folder=tmp_path)
    assert stop.wait() == 0, stop.said
    assert "run: stopped at step" in stop.output
    assert training.wait() == 128 + 15, training.said
    assert "failed" not in training.said
    step = run_state(tmp_path / "run").step
    assert (tmp_path / "run" / "checkpoints" / f"step-{step:08d}").is_dir()
    assert run_state(tmp_path / "run").process is None
