"""One page about a run: pictures with masks, curves, maps of the tokens, the score table."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import MaskIndices
from jepakit.data.loader import evaluation_loader
from jepakit.data.sources import Source
from jepakit.evaluation.comparison import Comparison
from jepakit.runs.config import RunConfig
from jepakit.runs.trained import Trained
from jepakit.runs.yaml_file import to_yaml
from jepakit.version import __version__
from jepakit.visualization import (
    Code,
    Facts,
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    draw_curves,
    feature_map_strips,
    mask_strips,
    read_metrics,
    write_page,
)

NUM_PICTURES = 8


def write_report(
    trained: Trained,
    source: Source,
    comparison: Comparison | None,
    columns: Sequence[str],
    command: str,
) -> None:
    """Write `report.html` into the run folder."""
    config, folder = trained.config, trained.folder
    pictures = first_pictures(source, config.data.view.size)
    sections: list[Section] = [*_scores(comparison, columns)]
    sections += [_masks(trained, pictures), _maps(trained, pictures)]
    if folder.metrics.exists():
        sections.append(_curves(trained))
    sections += [_facts(trained, source), Code(command, heading="How to do this again")]
    sections.append(Code(to_yaml(config), heading="All settings"))
    write_page(
        folder.page,
        title=f"jepakit: {config.folder.name}",
        sections=sections,
        lead="An encoder that learned from pictures alone, by predicting the representations of "
        "hidden blocks from the visible rest.",
        footer=f"written by jepakit {__version__}",
    )


def first_pictures(source: Source, size: tuple[int, int]) -> Tensor:
    """The first few centre views, uint8 B C H W."""
    indices = range(min(NUM_PICTURES, len(source)))
    return torch.cat([views for views, _, _ in evaluation_loader(source, size, indices)])


def _scores(comparison: Comparison | None, columns: Sequence[str]) -> list[Section]:
    if comparison is None:
        return []
    rows: tuple[tuple[str | float, ...], ...] = tuple(
        (row, *(100 * comparison.value(row, column) for column in columns))
        for row in comparison.scores
    )
    header = ("features", *(_short(column) for column in columns))
    table = Table(
        header,
        rows,
        caption=f"{comparison.caption()}; linear probes and k-NN",
        heading="What the features know",
        best="highest",
    )
    best, column = next(iter(comparison.scores)), columns[-1]
    margin = 100 * comparison.margin(best, column)
    words = (
        f"{best}: {100 * comparison.value(best, column):.1f} % ({header[-1]}), "
        f"{abs(margin):.1f} points {'above' if margin >= 0 else 'below'} the best baseline."
    )
    return [table, Text(words, tone="good" if margin > 0 else "warning")]


def _short(column: str) -> str:
    """`nearest_colour/linear` -> `colour`; only k-NN is named, as the others are linear probes."""
    task, _, score = column.rpartition("/")
    task = task.replace("nearest_", "").replace("_class", "")
    if not task:
        return score.replace("_", " ")
    return f"{task}, k-NN" if score.startswith("knn") else task


def _masks(trained: Trained, pictures: Tensor) -> Section:
    random = BatchRandom(trained.config.seed, 0)
    masks: MaskIndices = trained.networks.masking(len(pictures), random)
    strips = mask_strips(pictures, masks, trained.config.grid)
    columns = ("original", "context", "targets")
    return Gallery(
        tuple(
            Picture(strip, f"picture {number}: original, context, targets", columns=columns)
            for number, strip in enumerate(strips, 1)
        ),
        heading="Context and targets",
        caption="The context encoder sees the second picture only; the predictor is asked for the "
        "representations inside the outlined blocks.",
    )


@torch.no_grad()
def _maps(trained: Trained, pictures: Tensor) -> Section:
    encoders = {
        "trained": trained.objective.kept_encoder(),
        "random": trained.untrained().objective.kept_encoder(),
    }
    views = trained.normalise(pictures.to(trained.device))
    strips = feature_map_strips(encoders, views, pictures, finer=2, content_only=True)
    return Gallery(
        tuple(
            Picture(
                strip,
                f"picture {number}: original, token colours of the trained and a random encoder",
                columns=("original", *encoders),
            )
            for number, strip in enumerate(strips, 1)
        ),
        heading="What the tokens have in common",
        caption="The first three principal components of the tokens as red, green and blue.",
    )


def _curves(trained: Trained) -> Section:
    drawings = draw_curves(read_metrics(trained.folder.metrics))
    pictures = tuple(Picture(d.svg, d.words, caption=d.title) for d in drawings)
    return Gallery(pictures, heading="How the training went")


def _facts(trained: Trained, source: Source) -> Section:
    config: RunConfig = trained.config
    encoder = trained.objective.kept_encoder()
    size = encoder.settings.resolved()
    millions = sum(p.numel() for p in encoder.parameters()) / 1e6
    return Facts(
        (
            ("pictures", f"{len(source):,}"),
            ("views", f"{config.data.view.size[0]} x {config.data.view.size[1]} pixels"),
            (
                "encoder",
                f"width {size.width}, depth {size.depth}, {size.num_heads} heads, "
                f"{millions:.1f} M parameters, grid {config.grid[0]} x {config.grid[1]}",
            ),
            ("steps", f"{trained.step:,} of {config.batch.size} pictures"),
            ("masks", config.masking.kind),
            ("regulariser", config.objective.regulariser.kind),
            ("device", str(trained.device)),
        ),
        heading="The run",
    )
