"""`jepa bench evaluate`: how long the linear probes take beside scikit-learn, at equal accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Generic, TypeVar

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from jepakit.core.randomness import generator
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.fitting import Scaling, classify, to_choose_by
from jepakit.evaluation.linear_probe import LinearProbe
from jepakit.evaluation.linear_sweep import LinearSweep
from jepakit.evaluation.logistic_regression import LogisticProblem

_TOLERANCE = 0.001  # 0.1 point of accuracy
OURS, THEIRS = "ours", "scikit-learn"
Side = tuple[str, float | None]  # whose, and which l2; None: the whole sweep
_Name = TypeVar("_Name", bound=Hashable)
_Result = TypeVar("_Result")


def bench_evaluate(
    num_rows: int = 10_000, width: int = 384, num_classes: int = 10, rounds: int = 3
) -> int:
    """Print times and accuracies on made-up features; 1 if they disagree with scikit-learn's."""
    console = Console(soft_wrap=True)
    train = synthetic_features(num_rows, width, num_classes, "train")
    test = synthetic_features(max(num_rows // 2, 2), width, num_classes, "test")
    compared = _Compared(train, test, num_classes, torch.get_num_threads())
    console.print(
        f"{num_rows:,} x {width} features, {num_classes} classes, {len(test.labels):,} test rows; "
        f"medians of {rounds} rounds in turns, {compared.num_threads} threads for each side\n"
        "one l2: all rows, standardised beforehand, from zero until each side's own rule stops it "
        "(scikit-learn: its defaults, but up to 5,000 iterations)\n"
        "whole sweep: standardise, fit every l2 to 80 % of the rows, choose on the rest, fit the "
        "chosen to all rows, classify the test rows; the same for both sides"
    )
    exact = in_turns(compared.works(), rounds)
    console.print(_exact_table(exact))
    strengths = LinearProbe.Settings().l2
    their_fits = [exact[THEIRS, l2].seconds for l2 in strengths]
    ours = exact[OURS, None].seconds
    console.print(
        f"Our whole sweep {ours:.2f} s, scikit-learn's {len(their_fits)} fits alone, without "
        f"choice and final fit, {sum(their_fits):.2f} s: {sum(their_fits) / ours:.1f} times as fast"
    )
    _print_sweep(console, train, num_classes, rounds, sum(their_fits) / len(their_fits))
    gaps = [abs(exact[OURS, l2].result - exact[THEIRS, l2].result) for l2 in strengths]
    return int(max(gaps) > _TOLERANCE)


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


@dataclass(frozen=True)
class Timed(Generic[_Result]):
    """The median of the seconds of some rounds, and what the last of them returned."""

    seconds: float
    result: _Result


def in_turns(
    works: Mapping[_Name, Callable[[], _Result]], rounds: int
) -> dict[_Name, Timed[_Result]]:
    """Every work once per round, so that what else the machine does meets all alike."""
    seconds: dict[_Name, list[float]] = {name: [] for name in works}
    results: dict[_Name, _Result] = {}
    for _ in range(rounds):
        for name, work in works.items():
            begin = time.perf_counter()
            results[name] = work()
            seconds[name].append(time.perf_counter() - begin)
    return {name: Timed(median(seconds[name]), results[name]) for name in works}


@dataclass(frozen=True)
class _Compared:
    """Logistic regression by both sides, on the same rows and threads."""

    train: Features
    test: Features
    num_classes: int
    num_threads: int

    def works(self) -> dict[Side, Callable[[], float]]:
        """Each returns its accuracy on the test rows."""
        scaling = Scaling.of(self.train.values)
        rows, judged = scaling(self.train.values), scaling(self.test.values)
        works: dict[Side, Callable[[], float]] = {}
        for l2 in LinearProbe.Settings().l2:
            works[OURS, l2] = partial(self._ours, rows, judged, l2)
            works[THEIRS, l2] = partial(self._theirs, rows, judged, l2)
        works[OURS, None] = lambda: LinearProbe().score(self.train, self.test)["linear"]
        works[THEIRS, None] = self._their_sweep
        return works

    def _ours(self, rows: Tensor, judged: Tensor, l2: float) -> float:
        weights = LogisticProblem.of(rows, self.train.labels, self.num_classes).solve(l2)
        return (classify(weights, judged) == self.test.labels).double().mean().item()

    def _theirs(self, rows: Tensor, judged: Tensor, l2: float) -> float:
        return self._fit_theirs(rows, self.train.labels, l2, judged, self.test.labels)

    def _their_sweep(self) -> float:
        """What `LinearProbe` does, fit by fit."""
        settings, labels = LinearProbe.Settings(), self.train.labels
        held = to_choose_by(labels, settings.held_out, settings.seed)
        scaling = Scaling.of(self.train.values[~held])
        seen, left = scaling(self.train.values[~held]), scaling(self.train.values[held])
        rights = [
            self._fit_theirs(seen, labels[~held], l2, left, labels[held]) for l2 in settings.l2
        ]
        scaling = Scaling.of(self.train.values)
        rows, judged = scaling(self.train.values), scaling(self.test.values)
        return self._theirs(rows, judged, settings.l2[rights.index(max(rights))])

    def _fit_theirs(
        self, rows: Tensor, labels: Tensor, l2: float, judged: Tensor, answers: Tensor
    ) -> float:
        from jepakit.evaluation.estimators import fit_scikit_learn

        model = fit_scikit_learn(rows.numpy(), labels.numpy(), l2, self.num_threads)
        return float(model.score(judged.numpy(), answers.numpy()))


def _exact_table(exact: Mapping[Side, Timed[float]]) -> Table:
    table = Table(title="exact logistic regression")
    for name in ("l2", "ours, s", f"{THEIRS}, s", "ratio", "ours, %", f"{THEIRS}, %"):
        table.add_column(name, justify="right", no_wrap=True)
    for l2 in (*LinearProbe.Settings().l2, None):
        ours, theirs = exact[OURS, l2], exact[THEIRS, l2]
        table.add_row(
            "whole sweep" if l2 is None else f"{l2:g}",
            f"{ours.seconds:.2f}",
            f"{theirs.seconds:.2f}",
            f"{theirs.seconds / ours.seconds:.1f}",
            f"{100 * ours.result:.2f}",
            f"{100 * theirs.result:.2f}",
        )
    return table


def _print_sweep(
    console: Console, train: Features, num_classes: int, rounds: int, their_fit: float
) -> None:
    """The paper's sweep together and head by head; how far their held-out accuracies differ."""
    settings = LinearSweep.Settings(layers=("last",))
    single = [
        settings.model_copy(
            update={"norms": (norm,), "learning_rates": (rate,), "weight_decays": (decay,)}
        )
        for norm in settings.norms
        for rate in settings.learning_rates
        for decay in settings.weight_decays
    ]
    fits = {
        place: partial(LinearSweep(one).fit, train, num_classes)
        for place, one in enumerate([settings, *single])
    }
    together, *alone = in_turns(fits, rounds).values()
    sweep, heads = together.result, len(alone)
    one_by_one = sum(head.seconds for head in alone)
    gaps = {
        name: abs(accuracy - sweep.accuracies[name])
        for head in alone
        for name, accuracy in head.result.accuracies.items()
    }
    console.print(
        f"LinearSweep: {heads} heads together {together.seconds:.2f} s, one at a time "
        f"{one_by_one:.2f} s: {one_by_one / together.seconds:.1f} times as fast"
    )
    # A head whose rate is too large swings chaotically, so that rounding alone tells runs apart.
    console.print(
        f"Difference of held-out accuracies: {100 * gaps[sweep.best.name]:.2f} points of the "
        f"chosen head, {100 * max(gaps.values()):.2f} points at most"
    )
    console.print(
        f"A head of the sweep costs {together.seconds / heads:.3f} s (by LARS), "
        f"a fit by scikit-learn {their_fit:.2f} s (the mean of those above): "
        f"{their_fit * heads / together.seconds:.1f} times as fast"
    )
