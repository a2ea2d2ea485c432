"""`jepa bench features`: what making features costs beside the encoder's forward pass alone."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from rich.console import Console

from jepakit.core.devices import choose_device, choose_precision, synchronise
from jepakit.core.randomness import generator
from jepakit.data.normalization import IMAGENET, Normalizer
from jepakit.data.sources import build_source, guess_source
from jepakit.evaluation.feature_bank import NUM_LAYERS, FeatureBank
from jepakit.evaluation.features import evaluating
from jepakit.evaluation.subject import Pictures, Subject
from jepakit.models import Encoder
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.yaml_file import check

SIZE = (224, 224)  # pixels


def bench_features(data: str, size: str, num_pictures: int, rounds: int) -> int:
    """Print images/s of both, taken in turns, and the share that is reached."""
    console = Console()
    source = build_source(guess_source(data))
    chosen = generator(0, "bench features").permutation(len(source))[:num_pictures].tolist()
    pictures = Pictures(source, chosen, torch.zeros(len(chosen), dtype=torch.int64))
    subject = _subject(size)
    settings = EvaluationSettings().features
    num_workers = settings.workers(subject.device)
    views = torch.cat([v for v, _ in pictures.views(subject.size, settings.batch_size)])

    def all_of_it() -> None:
        with tempfile.TemporaryDirectory() as folder:
            bank = FeatureBank(Path(folder), lambda line: None, settings.batch_size, num_workers)
            bank.features(subject, pictures)

    def forward_alone() -> None:
        with torch.no_grad(), evaluating(subject.backbone), subject.in_precision():
            for batch in views.split(settings.batch_size):
                inputs = subject.normalise(batch.to(subject.device))
                subject.backbone.last_layers(inputs, NUM_LAYERS)

    forward_alone()
    pairs = [
        (_seconds(all_of_it, subject), _seconds(forward_alone, subject)) for _ in range(rounds)
    ]
    both, alone = (median(column) for column in zip(*pairs, strict=True))
    share = median(forward / whole for whole, forward in pairs)
    console.print(
        f"{size}, {subject.device}, {subject.precision}, {os.cpu_count()} cores: features "
        f"{len(views) / both:.1f} images/s, the forward pass alone {len(views) / alone:.1f}: "
        f"{share:.1%} of it (median of {rounds} rounds in turns)",
        soft_wrap=True,
    )
    return 0


def _subject(size: str) -> Subject:
    device = choose_device()
    settings = check(Encoder.Settings, {"size": size})
    torch.manual_seed(0)
    encoder = Encoder(settings, 3, SIZE).to(device)
    precision = choose_precision(device, "auto")
    normalise = Normalizer(IMAGENET).to(device)
    return Subject("bench", encoder, normalise, SIZE, "bench", device, precision)


def _seconds(work: Callable[[], None], subject: Subject) -> float:
    synchronise(subject.device)
    begin = time.perf_counter()
    work()
    synchronise(subject.device)
    return time.perf_counter() - begin
