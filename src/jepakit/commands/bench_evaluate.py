"""`jepa bench evaluate`: how long the linear probes take beside scikit-learn, at equal accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from rich.console import Console
from rich.table import Table

from jepakit.core.randomness import generator
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.fitting import Scaling, classify
from jepakit.evaluation.linear_probe import LinearProbe
from jepakit.evaluation.linear_sweep import LinearSweep
from jepakit.evaluation.logistic_regression import LogisticProblem

_TOLERANCE = 0.001  # 0.1 point of accuracy
_Result = TypeVar("_Result")


def bench_evaluate(num_rows: int = 10_000, width: int = 384, num_classes: int = 10) -> int:
    """Print times and accuracies on made-up features; 1 if they disagree with scikit-learn's."""
    console = Console()
    train = synthetic_features(num_rows, width, num_classes, "train")
    test = synthetic_features(max(num_rows // 2, 2), width, num_classes, "test")
    console.print(
        f"{num_rows:,} x {width} features, {num_classes} classes, {len(test.labels):,} test rows, "
        f"{torch.get_num_threads()} threads"
    )
    rows = [_exact(train, test, l2) for l2 in LinearProbe.Settings().l2]
    probe_seconds, scores = timed(lambda: LinearProbe().score(train, test))
    console.print(_exact_table(rows, probe_seconds, scores["linear"]))
    together, alone, chosen_gap, gap = _sweep_seconds(train, num_classes)
    heads = len(alone)
    console.print(
        f"LinearSweep: {heads} heads together {together:.2f} s, one at a time {sum(alone):.2f} s: "
        f"{sum(alone) / together:.1f} times as fast"
    )
    # A head whose rate is too large swings chaotically, so that rounding alone tells runs apart.
    console.print(
        f"Difference of held-out accuracies: {100 * chosen_gap:.2f} points of the chosen head, "
        f"{100 * gap:.2f} points at most"
    )
    theirs = sum(row.their_seconds for row in rows) / len(rows)
    console.print(
        f"A setting costs {together / heads:.3f} s in the sweep, {theirs:.2f} s with scikit-learn: "
        f"{theirs * heads / together:.1f} times as fast"
    )
    return int(any(abs(row.our_accuracy - row.their_accuracy) > _TOLERANCE for row in rows))


def synthetic_features(num_rows: int, width: int, num_classes: int, split: str) -> Features:
    """Overlapping classes in rotated directions of falling variance, like an encoder's features.

    At the sizes of `bench_evaluate` a linear probe is right about three times in four.
    """
    random = generator(0, "bench-evaluate")
    centres, directions, offset = (
        torch.from_numpy(random.standard_normal(shape)).float()
        for shape in ((num_classes, width), (width, width), (width,))
    )
    random = generator(0, f"bench-evaluate-{split}")
    labels = torch.from_numpy(random.integers(num_classes, size=num_rows))
    noise = torch.from_numpy(random.standard_normal((num_rows, width))).float()
    spectrum = torch.arange(1, width + 1) ** -0.5
    values = (0.13 * centres[labels] + noise) * spectrum @ torch.linalg.qr(directions).Q
    return Features(values + 0.3 * offset, labels)


def timed(work: Callable[[], _Result]) -> tuple[float, _Result]:
    """Seconds, and what the work returned."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


@dataclass(frozen=True)
class _Row:
    l2: float
    our_seconds: float
    their_seconds: float
    our_accuracy: float
    their_accuracy: float


def _exact(train: Features, test: Features, l2: float) -> _Row:
    """Both solve the same problem one after the other, each from the beginning."""
    from jepakit.evaluation.estimators import fit_scikit_learn

    num_classes = int(train.labels.max()) + 1
    scaling = Scaling.of(train.values)
    rows, judged = scaling(train.values), scaling(test.values)

    def solve() -> torch.Tensor:
        problem = LogisticProblem.of(rows, train.labels, num_classes)
        return problem.solve(l2)

    our_seconds, weights = timed(solve)
    their_seconds, model = timed(
        lambda: fit_scikit_learn(rows.numpy(), train.labels.numpy(), l2, torch.get_num_threads())
    )
    ours = (classify(weights, judged) == test.labels).double().mean().item()
    theirs = float(model.score(judged.numpy(), test.labels.numpy()))
    return _Row(l2, our_seconds, their_seconds, ours, theirs)


def _exact_table(rows: list[_Row], probe_seconds: float, probe_accuracy: float) -> Table:
    table = Table(title="exact logistic regression")
    for name in ("l2", "ours, s", "scikit-learn, s", "ratio", "ours, %", "scikit-learn, %"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"{row.l2:g}",
            f"{row.our_seconds:.2f}",
            f"{row.their_seconds:.2f}",
            f"{row.their_seconds / row.our_seconds:.1f}",
            f"{100 * row.our_accuracy:.2f}",
            f"{100 * row.their_accuracy:.2f}",
        )
    theirs = sum(row.their_seconds for row in rows)
    cells = (f"{probe_seconds:.2f}", f"{theirs:.2f}", f"{theirs / probe_seconds:.1f}")
    best = max(row.their_accuracy for row in rows)
    table.add_row(
        "sweep, choice, refit", *cells, f"{100 * probe_accuracy:.2f}", f"{100 * best:.2f}"
    )
    return table


def _sweep_seconds(train: Features, num_classes: int) -> tuple[float, list[float], float, float]:
    """Seconds together, and of each head alone; the chosen's and the largest gap of accuracy."""
    settings = LinearSweep.Settings(layers=("last",))
    before, sweep = timed(lambda: LinearSweep(settings).fit(train, num_classes))
    seconds, gaps = [], {}
    for norm in settings.norms:
        for rate in settings.learning_rates:
            for decay in settings.weight_decays:
                update = {"norms": (norm,), "learning_rates": (rate,), "weight_decays": (decay,)}
                single = LinearSweep(settings.model_copy(update=update))
                taken, alone = timed(lambda single=single: single.fit(train, num_classes))  # type: ignore[misc]
                seconds.append(taken)
                ((name, accuracy),) = alone.accuracies.items()
                gaps[name] = abs(accuracy - sweep.accuracies[name])
    after, _ = timed(lambda: LinearSweep(settings).fit(train, num_classes))
    return (before + after) / 2, seconds, gaps[sweep.best.name], max(gaps.values())
