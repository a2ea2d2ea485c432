"""`jepa evaluate`: score a trained encoder beside a random encoder and raw pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from jepakit.core.devices import choose_device
from jepakit.data.sources import Source, build_source, find_splits
from jepakit.data.sources.image_folder import ImageFolder
from jepakit.evaluation.comparison import Comparison
from jepakit.runs.pictures import open_source, open_validation
from jepakit.runs.scoring import ScoringSettings, choose_pictures, score
from jepakit.runs.trained import Trained, open_trained
from jepakit.runs.yaml_file import apply_overrides, check


def evaluate(run_folder: Path, overrides: Sequence[str], data: Path | None) -> int:
    """Print the table of scores and write it to `scores.json` in the run folder."""
    console = Console()
    settings = check(ScoringSettings, apply_overrides({}, overrides))
    trained = open_trained(run_folder, choose_device())
    comparison = evaluate_run(trained, settings, data, console)
    console.print(comparison.table(main_columns(comparison)))
    console.print(f"all scores: {trained.folder.scores}", highlight=False)
    return 0


def evaluate_run(
    trained: Trained, settings: ScoringSettings, data: Path | None, console: Console
) -> Comparison:
    """Score, and write `scores.json`."""
    source, held_out = _sources(trained, data)
    if not source.classes:
        raise ValueError(
            f"the {len(source)} pictures have no labels: put them into one folder per class, or "
            "name a labelled folder with --data"
        )
    train, test = choose_pictures(source, held_out, settings)
    with torch.inference_mode(False):
        comparison = score(
            trained, train, test, settings, lambda words: console.print(words, style="dim")
        )
    comparison.save(trained.folder.scores)
    return comparison


def _sources(trained: Trained, data: Path | None) -> tuple[Source, Source | None]:
    if data is None:
        source = open_source(trained.config.data.source, trained.config)
        return source, open_validation(trained.config, source)
    channels = trained.objective.kept_encoder().num_channels
    splits = find_splits(data)
    held_out = splits.get("val") or splits.get("test")
    if not splits or held_out is None:
        return build_source(ImageFolder.Settings(path=data, channels=channels)), None
    parts = [ImageFolder.Settings(path=p, channels=channels) for p in (splits["train"], held_out)]
    return build_source(parts[0]), build_source(parts[1])


def main_columns(comparison: Comparison) -> list[str]:
    """The columns worth a place on the terminal: one k-NN, the linear probes."""
    means = [c for c in comparison.columns if c.startswith("mean/")]
    wanted = ("knn_20", "linear")
    if not means:
        return [c for c in comparison.columns if c in wanted]
    tasks = [c for c in comparison.columns if c.endswith("/linear")]
    return [c for c in means if c.endswith("/knn_20")] + tasks
