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
    assert bench.bench_evaluate(num_rows=400, width=6, num_classes=3) == 0
    printed = capsys.readouterr().out
    assert "400 x 6 features, 3 classes, 200 test rows" in printed
    for l2 in LinearProbe.Settings().l2:
        assert f"│ {l2:g} " in printed.replace("  ", "") or f" {l2:g} │" in printed
    assert "8 heads together" in printed
    assert "0.00 points of the chosen head, 0.00 points at most" in " ".join(printed.split())


@pytest.mark.usefixtures("quick")
def test_disagreement_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "classify", lambda weights, values: torch.zeros(len(values)))
    assert bench.bench_evaluate(num_rows=200, width=6, num_classes=3) == 1


def test_features_are_made_the_same_each_time() -> None:
    first, second = (bench.synthetic_features(50, 6, 3, "train") for _ in range(2))
    assert first.values.equal(second.values)
    assert not first.values.equal(bench.synthetic_features(50, 6, 3, "test").values)
    assert first.labels.unique().tolist() == [0, 1, 2]
