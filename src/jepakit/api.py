"""What Python users call: the verbs of the command line as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from torch import Tensor

from jepakit.commands.evaluate import evaluate_named
from jepakit.commands.pretrain import train
from jepakit.core.distributed import Place
from jepakit.core.errors import RunFailed
from jepakit.data.sources import Source
from jepakit.data.sources.arrays import ArraySource
from jepakit.evaluation.comparison import Comparison
from jepakit.runs.automatic import choose
from jepakit.runs.config import RunConfig, flat
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.yaml_file import check, merged


def pretrain(
    pictures: str | Path | Source | np.ndarray | Tensor,
    labels: Sequence[int | str] | np.ndarray | Tensor | None = None,
    *,
    device: str = "auto",
    **settings: Any,
) -> Path:
    """Train as `jepa pretrain --data` does, in this process; the same call continues the run.

    `pictures` is what `--data` takes, or an array of B H W, B H W C or B C H W; its `labels` only
    judge the online probe. `settings` are those of the command (`optimization={"epochs": 50}`),
    and the others are chosen for these pictures and the device. Returns the run's folder, which
    `evaluate` takes. Raises `ValueError`, and `RunFailed` if the run stopped.

    >>> pretrain(np.load("crops.npy"), folder="runs/crops", optimization={"epochs": 50})
    """
    given = pictures
    if not isinstance(given, str | Path | Source):
        if not hasattr(given, "ndim"):
            raise ValueError(f"a {type(given).__name__} is no array of pictures: use np.stack")
        given = ArraySource.of(given, labels)
    content, reasons = choose(given, [device], settings, list(flat(settings)))
    config = check(RunConfig, merged({**content, "devices": [device]}, settings))
    console = Console(stderr=True)
    console.print(reasons)
    source = given if isinstance(given, Source) else None
    if train(config, Place(), console, source):
        raise RunFailed(f"stopped and saved in {config.folder}: the same call continues")
    return config.folder


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
