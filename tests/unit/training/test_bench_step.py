"""`jepa bench step` measures the step beside the peak of matrix products, in turns."""

from pathlib import Path

import pytest

from jepakit.commands import bench_step as bench

TINY = [
    *("encoder.size=null", "encoder.width=32", "encoder.depth=2", "encoder.num_heads=2"),
    *("encoder.patch=8", "predictor.width=16", "predictor.depth=1", "data.view.size=48"),
    *("batch.size=4", "precision=fp32"),
]


@pytest.fixture(autouse=True)
def small_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "USUAL_PEAK_SIDE", 64)


def test_the_table_names_every_part_and_the_share(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.bench_step(None, [*TINY, "devices=[cpu]"], []) == 0
    told = capsys.readouterr().out
    for words in ("target encoder", "predictor and loss", "whole step", "share of the peak"):
        assert words in told


def test_a_machine_that_is_slow_in_one_turn_does_not_change_the_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([0.1, 0.1, 0.1, 10.0, 0.1, 0.1, 0.1])
    monkeypatch.setattr(bench.StepBench, "seconds_of", lambda self, work: next(times))
    looks = iter([1e9] * 3 + [1e7] * 2 + [1e9] * 3)
    monkeypatch.setattr(bench.StepBench, "matrix_peak", lambda self: next(looks))
    measured = object.__new__(bench.StepBench)
    measured.flops = 50_000_000
    measured.count = 1
    seconds, peak, share = measured.beside_the_peak()
    assert (seconds, peak) == (0.1, 1e9)
    assert share == pytest.approx(0.5)


def test_a_config_is_measured_on_the_device_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(f"folder: {tmp_path / 'run'}\ndata: {{source: {{kind: scenes}}}}\n")
    assert bench.bench_step(config, TINY, ["cpu"]) == 0
    assert "cpu, fp32, 4 pictures per step" in capsys.readouterr().out
