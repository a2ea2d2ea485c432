"""What Python users call: the verbs of the command line as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jepakit.commands.evaluate import evaluate_named
from jepakit.evaluation.comparison import Comparison
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.yaml_file import check


def evaluate(
    what: str | Path | Sequence[str | Path],
    data: str | Path | None = None,
    tasks: Sequence[str] = ("knn", "linear"),
    *,
    out: str | Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Comparison:
    """Score networks as `jepa evaluate` does, beside a random twin and raw pixels.

    `what` is a run folder, a checkpoint, `timm:MODEL`, or several of them; `settings` are those of
    the command (`num_test=1000`, `linear={"l2": [0.01]}`). The result's `scores[row][column]` have
    `value`, `low` and `high`. Nothing is written but the cache in `out`. Raises `ValueError`.

    >>> evaluate("runs/demo", tasks=["linear"]).value("random encoder", "mean/linear")
    """
    names = [str(name) for name in ([what] if isinstance(what, str | Path) else what)]
    chosen = check(EvaluationSettings, {"tasks": list(tasks), **settings})
    folder = None if out is None else Path(out)
    return evaluate_named(names, data, chosen, folder, tell)[0].comparison
