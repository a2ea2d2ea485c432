"""Several encoders side by side: one table of scores with intervals, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from jepakit.core.randomness import generator
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.judgement import Classification, Judgement

_CONFIDENCE = 0.95
_MOST_ACROSS = 3  # scores side by side on the terminal
_BLOCK = 2**24  # picture draws in memory at a time


class Score(BaseModel):
    """A share, with the bounds of its 95 % bootstrap interval over the test pictures."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """In percent, e.g. `56.5 (54.1–58.8)`."""
        value, low, high = (f"{100 * share:.1f}" for share in (self.value, self.low, self.high))
        return f"{value} ({low}–{high})"


class Comparison(BaseModel):
    """Scores by row (what is compared) and column (the score's name), over the same pictures."""

    model_config = ConfigDict(frozen=True)

    num_pictures: int
    confidence: float = _CONFIDENCE
    scores: dict[str, dict[str, Score]]
    chosen: dict[str, dict[str, float]]  # what each row's probes chose, e.g. `linear_l2`
    sizes: dict[str, tuple[int, int]] = {}  # of the pictures that each network saw, in pixels
    pictures: str = ""  # which they were, as somebody named them
    fingerprint: str = ""  # of all of them
    learned_from: bool = False  # whether the run learned, without labels, from these pictures
    values: tuple[float, float] | None = None  # stored ones of over 8 bits that were black, white

    @property
    def columns(self) -> list[str]:
        """Names of the scores, in order; a row may lack some (raw pixels cannot be fine-tuned)."""
        return list(dict.fromkeys(name for scores in self.scores.values() for name in scores))

    def value(self, row: str, column: str) -> float:
        """One score, a share. `ValueError` if there is none of that name."""
        return self._score(row, column).value

    def margin(self, row: str, column: str, others: Sequence[str] | None = None) -> Score:
        """By how much a row is above the best of `others` (default: all others), a share.

        Below them it is negative. Its interval takes the two scores as independent. They judge the
        same pictures and mostly rise and fall together, so the true one is narrower.
        """
        rows = [other for other in self.scores if other != row] if others is None else others
        known = [self.scores[other][column] for other in rows if column in self.scores[other]]
        best, own = max(known, key=lambda score: score.value), self._score(row, column)
        value = own.value - best.value
        low = value - hypot(own.value - own.low, best.high - best.value)
        high = value + hypot(own.high - own.value, best.value - best.low)
        return Score(value=value, low=low, high=high)

    def _score(self, row: str, column: str) -> Score:
        if row not in self.scores:
            raise ValueError(f"no row {row!r}: there are {', '.join(self.scores)}")
        if column not in self.scores[row]:
            raise ValueError(f"{row} has no score {column!r}: it has {', '.join(self.scores[row])}")
        return self.scores[row][column]

    def save(self, path: Path) -> None:
        """Write `scores.json`; `Comparison.load` reads it."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Read what `save` wrote."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def table(self, columns: Sequence[str] | None = None) -> Table:
        """For the terminal, the best of each score in bold; many scores go downwards."""
        table = Table(title=self.caption())
        columns = self.columns if columns is None else columns
        cells = {
            (row, column): self._cell(row, column, "[bold]", "[/]")
            for row in self.scores
            for column in columns
        }
        if len(columns) > _MOST_ACROSS:
            table.add_column("score")
            for row in self.scores:
                table.add_column(row, justify="right")
            for column in columns:
                table.add_row(_heading(column), *(cells[row, column] for row in self.scores))
            return table
        table.add_column("features")
        for column in columns:
            table.add_column(_heading(column), justify="right")
        for row in self.scores:
            table.add_row(row, *(cells[row, column] for column in columns))
        return table

    def markdown(self, columns: Sequence[str] | None = None) -> str:
        """For a page, with the best of each column in bold."""
        columns = self.columns if columns is None else columns
        lines = [
            " | ".join(["features", *(_heading(column) for column in columns)]),
            " | ".join(["---", *("---:" for _ in columns)]),
        ]
        for row in self.scores:
            cells = [self._cell(row, column, "**", "**") for column in columns]
            lines.append(" | ".join([row, *cells]))
        return "\n".join([*(f"| {line} |" for line in lines), "", self.caption()]) + "\n"

    def caption(self) -> str:
        """What the numbers are."""
        squares = "; r2: 100 x R²" if any(c.endswith("r2") for c in self.columns) else ""
        return (
            f"Percent of {self.num_pictures:,} test pictures{self._seen()} "
            f"({self.confidence:.0%} bootstrap interval{squares}{self._mean_of()})"
            f"{self._black_and_white()}"
            f"{'; the run learned from them, without labels' if self.learned_from else ''}"
        )

    def _mean_of(self) -> str:
        """How many questions a mean is over: others may have been asked elsewhere."""
        places = [column.rpartition("/") for column in self.columns]
        averaged = {score for question, _, score in places if question == "mean"}
        questions = {question for question, _, score in places if score in averaged} - {"mean"}
        return f"; mean: of {len(questions)} questions" if questions else ""

    def _black_and_white(self) -> str:
        if self.values is None:
            return ""
        return f"; stored values from {self.values[0]:g} (black) to {self.values[1]:g} (white)"

    def _seen(self) -> str:
        sizes = sorted(set(self.sizes.values()))
        told = " or ".join(f"{height} x {width}" for height, width in sizes)
        return f" of {told} pixels" if told else ""

    def _cell(self, row: str, column: str, before: str, after: str) -> str:
        score = self.scores[row].get(column)
        if score is None:
            return "–"
        best = max(s[column].value for s in self.scores.values() if column in s)
        return f"{before}{score}{after}" if score.value == best else str(score)


def compare(
    candidates: Mapping[str, tuple[Features, Features]],
    evaluations: Mapping[str, Classification],
    seed: int = 0,
) -> Comparison:
    """Judge each candidate's (training, test) features by all evaluations, and tabulate."""
    judgements = {
        row: Judgement.together(
            evaluation.judge(train, test) for evaluation in evaluations.values()
        )
        for row, (train, test) in candidates.items()
    }
    return tabulate(judgements, seed)


def tabulate(
    judgements: Mapping[str, Judgement],
    seed: int = 0,
    num_resamples: int = 1000,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> Comparison:
    """The table of several judgements of the same test pictures, in the order given.

    `sizes` are those, in pixels, at which the rows saw them, where they saw pictures.

    All rows and columns are resampled together. The interval holds the luck of the test pictures,
    not that of the training. Raises `ValueError` if rows differ in their pictures.
    """
    places = [(row, name) for row, found in judgements.items() for name in found.marks]
    marks = [judgements[row].marks[name].cpu().double().numpy() for row, name in places]
    if len({len(one) for one in marks}) != 1:
        raise ValueError(
            "only judgements of the same test pictures can be compared: evaluate all of them on "
            "one split"
        )
    together = np.stack(marks)
    partly = {name for (_, name), one in zip(places, marks, strict=True) if (one % 1).any()}
    counted = np.array([name not in partly for _, name in places])
    bounds = _widen_certain(together, counted, *bootstrap(together, seed, num_resamples))
    numbers = np.stack([together.mean(axis=1), *bounds], axis=1).tolist()
    scores: dict[str, dict[str, Score]] = {row: {} for row in judgements}
    for (row, name), (value, low, high) in zip(places, numbers, strict=True):
        scores[row][name] = Score(value=value, low=low, high=high)
    num_pictures = together.shape[1]
    chosen = {row: found.chosen for row, found in judgements.items()}
    return Comparison(
        num_pictures=num_pictures, scores=scores, chosen=chosen, sizes=dict(sizes or {})
    )


def bootstrap(marks: np.ndarray, seed: int, num_resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the percentile interval of each row's mean; `marks` is float64 S x B."""
    num_pictures = marks.shape[1]
    random = generator(seed, "bootstrap")
    per_block = max(1, _BLOCK // num_pictures)
    means = []
    for first in range(0, num_resamples, per_block):
        size = min(per_block, num_resamples - first)
        drawn = random.integers(num_pictures, size=(size, num_pictures))
        places = drawn + num_pictures * np.arange(size)[:, None]
        counts = np.bincount(places.ravel(), minlength=size * num_pictures)
        means.append(counts.reshape(size, num_pictures) @ marks.T / num_pictures)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), (tail, 1 - tail), axis=0)
    return low, high


def _widen_certain(
    marks: np.ndarray, counted: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The exact interval (Clopper and Pearson 1934) where all pictures are right, or all wrong.

    Resampling them finds no luck, however few they are. `counted` are the rows whose pictures are
    either right or wrong, and not partly right.
    """
    right, wrong = (counted & (marks == one).all(axis=1) for one in (1, 0))
    bound = ((1 - _CONFIDENCE) / 2) ** (1 / marks.shape[1])
    return np.where(right, bound, low), np.where(wrong, 1 - bound, high)


def _heading(column: str) -> str:
    """`nearest_shape/linear` -> `nearest shape, linear`."""
    return column.replace("_", " ").replace("/", ", ")
