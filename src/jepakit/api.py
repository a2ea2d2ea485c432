"""What Python users call: the verbs of the command line as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

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
from jepakit.runs.automatic import MEMORY, choose
from jepakit.runs.choices import section
from jepakit.runs.config import RunConfig, flat
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.model import Model, open_model
from jepakit.runs.prediction import Prediction
from jepakit.runs.weights import Branch
from jepakit.runs.yaml_file import check, merged, nested

__all__ = ["Model", "Prediction", "evaluate", "load", "pretrain"]


def pretrain(
    pictures: str | Path | Source | np.ndarray | Tensor,
    labels: Sequence[int | str] | np.ndarray | Tensor | None = None,
    *,
    device: str = "auto",
    **settings: Any,
) -> Path:
    """Train as `jepa pretrain --data` does, in this process; the same call continues the run.

    `pictures` is what `--data` takes, or an array of B H W, B H W C or B C H W; its `labels` only
    judge the online probe. Arrays of more than 8 bits are scaled to the values that they hold, or
    as `data.source.values` says, which floating-point numbers need. `settings` are those of the
    command (`optimization={"epochs": 50}`, or `**{"optimization.epochs": 50}`), and the others are
    chosen for these pictures and the device. Returns the run's folder, which `evaluate` takes.
    Raises `ValueError`, and `RunFailed` if the run stopped.

    >>> pretrain(np.load("crops.npy"), optimization={"epochs": 50})  # doctest: +SKIP
    """
    settings = nested(settings)
    given = pictures
    if not isinstance(given, str | Path | Source):
        if not hasattr(given, "ndim"):
            raise ValueError(f"a {type(given).__name__} is no array of pictures: use np.stack")
        said = {"path": MEMORY, **section(settings, "data", "source")}
        how = check(ArraySource.Settings, said)
        given = ArraySource.of(given, labels, how.classes, values=how.values, layout=how.layout)
    content, reasons = choose(
        given, [device], settings, {name: str(value) for name, value in flat(settings).items()}
    )
    config = check(RunConfig, merged({**content, "devices": [device]}, settings))
    console = Console(stderr=True)
    console.print(reasons)
    source = given if isinstance(given, Source) else None
    how_read = config.data.source
    if isinstance(source, ArraySource) and isinstance(how_read, ArraySource.Settings):
        source = source.reading(how_read.values)
    if train(config, Place(), console, source):
        raise RunFailed(f"stopped and saved in {config.folder}: the same call continues")
    return config.folder


def load(
    name: str | Path,
    device: str = "auto",
    branch: Branch = "target",
    *,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    revision: str | None = None,
    partial: bool = False,
    values: tuple[float, float] | None = None,
) -> Model:
    """A trained encoder, and its predictor if it is there, ready for pictures of any kind.

    `name` is a run folder, one of its checkpoints, or what else commands take: `meta:FILE.pth.tar`,
    `hf:NAME` (pinned by `revision`), `timm:MODEL`, a `.safetensors` file. `branch` chooses between
    the target encoder, which the paper evaluates, and the context encoder. `precision` "auto" is
    bf16 where the device multiplies it; "fp32" compares to the last digit. Files of which not every
    tensor fits are refused unless `partial`. `values` (low, high) of pictures of other than 8 bits
    become black and white: by default those of the training. Raises `ValueError` with one sentence.

    >>> model = load("runs/my-run", device="cpu")
    >>> model.features(["pictures/cat.png", "pictures/dog.png"]).shape
    (2, 32)
    """
    return open_model(str(name), device, branch, precision, revision, partial, values)


def evaluate(
    what: str | Path | Sequence[str | Path],
    data: str | Path | Source | np.ndarray | Tensor | None = None,
    tasks: Sequence[str] = ("knn", "linear"),
    *,
    labels: Sequence[int | str] | np.ndarray | Tensor | None = None,
    out: str | Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Comparison:
    """Score networks as `jepa evaluate` does, beside a random twin and raw pixels.

    `what` is a run folder, a checkpoint, `timm:MODEL`, or several of them; `data` is what `--data`
    takes, or an array as in `pretrain` with its `labels`; `settings` are those of the command
    (`num_test=1000`, `linear={"l2": [0.01]}`). The result's `scores[row][column]` have `value`,
    `low` and `high`. Nothing is written but the cache in `out`. Raises `ValueError`.

    >>> found = evaluate("runs/my-run", "pictures/classes", tasks=["linear"])
    >>> found.value("raw pixels", "linear")
    1.0
    """
    names = [str(name) for name in ([what] if isinstance(what, str | Path) else what)]
    chosen = check(EvaluationSettings, {"tasks": list(tasks), **nested(settings)})
    folder = None if out is None else Path(out)
    given = ArraySource.of(data, labels) if isinstance(data, np.ndarray | Tensor) else data
    return evaluate_named(names, given, chosen, folder, tell)[0].comparison
