import pytest
import torch

from jepakit.commands import bench_evaluate as bench
from jepakit.evaluation.linear_probe import LinearProbe
from jepakit.evaluation.linear_sweep import LinearSweep


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that are trained for two epochs."""

    class Quick(LinearSweep.Settings):
        epochs: int = 2
        learning_rates: tuple[float, ...] = (0.3, 3.0)

    monkeypatch.setattr(LinearSweep, "Settings", Quick)


@pytest.mark.usefixtures("quick")
def test_it_prints_times_and_accuracies_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.bench_evaluate(num_rows=400, width=6, num_classes=3, rounds=1) == 0
    printed = capsys.readouterr().out
    assert "medians of 1 rounds in turns" in printed
    assert "400 x 6 features, 3 classes, 200 test rows" in printed
    for l2 in LinearProbe.Settings().l2:
        assert f"│ {l2:g} " in printed.replace("  ", "") or f" {l2:g} │" in printed
    (whole,) = [line.split("│") for line in printed.splitlines() if "│ whole sweep" in line]
    assert whole[5].strip() == whole[6].strip(), "the whole sweep chooses and finds the same"
    assert "8 heads together" in printed
    assert "0.00 points of the chosen head, 0.00 points at most" in " ".join(printed.split())


@pytest.mark.usefixtures("quick")
def test_disagreement_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "classify", lambda weights, values: torch.zeros(len(values)))
    assert bench.bench_evaluate(num_rows=200, width=6, num_classes=3, rounds=1) == 1


def test_works_take_turns_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now, order = [0.0], []

    def work(name: str, durations: list[float]) -> str:
        order.append(name)
        now[0] += durations.pop(0)
        return f"{name} {len(durations)} left"

    monkeypatch.setattr(bench.time, "perf_counter", lambda: now[0])
    first, second = [9.0, 1.0, 2.0], [3.0, 4.0, 5.0]
    found = bench.in_turns({"a": lambda: work("a", first), "b": lambda: work("b", second)}, 3)
    assert order == ["a", "b"] * 3
    assert found == {"a": bench.Timed(2.0, "a 0 left"), "b": bench.Timed(4.0, "b 0 left")}


def test_features_are_made_the_same_each_time() -> None:
    first, second = (bench.synthetic_features(50, 6, 3, "train") for _ in range(2))
    assert first.values.equal(second.values)
    assert not first.values.equal(bench.synthetic_features(50, 6, 3, "test").values)
    assert first.labels.unique().tolist() == [0, 1, 2]
