"""Scoring a trained run: its encoder beside a random one and raw pixels, on the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from jepakit.core.devices import choose_precision
from jepakit.core.randomness import generator
from jepakit.core.settings import Settings
from jepakit.data.loader import evaluation_loader
from jepakit.data.sources import Source
from jepakit.evaluation import Classification, Features
from jepakit.evaluation.comparison import Comparison, compare, tabulate
from jepakit.evaluation.features import Pooling, extract_features, pixel_features
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.evaluation.linear_probe import LinearProbe
from jepakit.evaluation.scene_tasks import judge_tasks, task_labels
from jepakit.models import Encoder
from jepakit.runs.trained import Trained

Pictures = tuple[Source, Sequence[int]]
TRAINED, CONTEXT, RANDOM, PIXELS = (
    "trained (target encoder)",
    "trained (context encoder)",
    "random encoder",
    "raw pixels",
)


class ScoringSettings(Settings):
    """How many pictures, and which features."""

    num_train: int | None = Field(None, ge=10, description="null = all labelled pictures")
    num_test: int | None = Field(None, ge=10, description="null = all")
    pooling: Pooling = Field("last", description="last layer, or the last four concatenated")
    encoder: Literal["target", "both"] = Field("target", description="both: the context one too")
    batch_size: int = Field(256, ge=1)
    num_workers: int = Field(1, ge=0)
    seed: int = Field(0, ge=0, description="chooses pictures, held-out parts and intervals")


def choose_pictures(
    source: Source, held_out: Source | None, settings: ScoringSettings
) -> tuple[Pictures, Pictures]:
    """Training and test pictures; without a held-out source a fifth of the source is the test."""
    order = generator(settings.seed, "scoring").permutation(len(source)).tolist()
    if held_out is None:
        num_test = len(source) // 5
        test: Pictures = (source, order[:num_test][: settings.num_test])
        order = order[num_test:]
    else:
        others = generator(settings.seed, "scoring test").permutation(len(held_out)).tolist()
        test = (held_out, others[: settings.num_test])
    return (source, order[: settings.num_train]), test


def score(
    trained: Trained,
    train: Pictures,
    test: Pictures,
    settings: ScoringSettings,
    tell: Callable[[str], None] = print,
) -> Comparison:
    """The table of scores. A source with tasks of its own is scored in these."""
    candidates = {
        row: tuple(extract(part) for part in (train, test))
        for row, extract in _extractors(trained, settings, tell).items()
    }
    evaluations = _evaluations(num_train=len(train[1]))
    tell("fitting probes")
    (source, train_indices), (held_out, test_indices) = train, test
    if not source.tasks:
        return compare(candidates, evaluations, settings.seed)  # type: ignore[arg-type]
    labels = task_labels(source.labels, train_indices), task_labels(held_out.labels, test_indices)
    return tabulate(
        {
            row: judge_tasks(a.values, labels[0], b.values, labels[1], evaluations)
            for row, (a, b) in candidates.items()
        },
        settings.seed,
    )


def _evaluations(num_train: int) -> dict[str, Classification]:
    """All evaluations; a k-NN asks for no more neighbours than there are training pictures."""
    usual = NearestNeighbours.Settings().neighbours
    possible = tuple(k for k in usual if k <= num_train) or (num_train,)
    settings = NearestNeighbours.Settings(neighbours=possible)
    return {"knn": NearestNeighbours(settings), "linear": LinearProbe()}


def _extractors(
    trained: Trained, settings: ScoringSettings, tell: Callable[[str], None]
) -> Mapping[str, Callable[[Pictures], Features]]:
    precision = choose_precision(trained.device, trained.config.precision)

    def batches(pictures: Pictures) -> Iterator[tuple[Tensor, Tensor]]:
        source, indices = pictures
        stream = evaluation_loader(
            source,
            trained.config.data.view.size,
            indices,
            settings.batch_size,
            settings.num_workers,
        )
        for views, labels, _ in stream:
            yield views, labels

    def by(encoder: Encoder, row: str) -> Callable[[Pictures], Features]:
        def extract(pictures: Pictures) -> Features:
            tell(f"features of {len(pictures[1])} pictures: {row}")
            return extract_features(
                encoder,
                batches(pictures),
                trained.normalise,
                settings.pooling,
                torch.bfloat16 if precision == "bf16" else None,
                trained.device,
            )

        return extract

    rows = {TRAINED: by(trained.objective.kept_encoder(), TRAINED)}
    if settings.encoder == "both":
        context = getattr(trained.objective, "context_encoder", None)
        assert isinstance(context, Encoder)
        rows[CONTEXT] = by(context, CONTEXT)
    rows[RANDOM] = by(trained.untrained().objective.kept_encoder(), RANDOM)
    return {**rows, PIXELS: lambda pictures: pixel_features(batches(pictures))}
