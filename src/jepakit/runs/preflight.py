"""The look at device, memory, pictures and disk before a run: what would go wrong in the night."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table

from jepakit.core.devices import cpu_multiplies_bf16, free_memory, synchronise
from jepakit.core.durations import in_words
from jepakit.core.errors import RunFailed
from jepakit.core.shards import local_part
from jepakit.data.sources import BrokenPicture, Source
from jepakit.data.sources.decoded import DecodedSource
from jepakit.objectives import IJepa
from jepakit.runs.config import RunConfig
from jepakit.runs.device_batch import WHERE_NONE_FITS, those_that_fit
from jepakit.runs.networks import Networks
from jepakit.runs.recipes import FEW
from jepakit.training.monitors.throughput import LONG_LOADING
from jepakit.training.trainer import Trainer

Verdict = Literal["ok", "mind", "stop"]
MARKS = {"ok": "[green]ok[/]", "mind": "[yellow]mind[/]", "stop": "[red]stop[/]"}
GIB = 2**30
NARROW = 512  # the released deviation of 0.02 is what fan-in asks for at 768
NUM_READ = 16  # pictures that are read on trial
VERY_FEW = 1000  # pictures; 241 photographs taught less than nothing (docs/guides/small-data.md)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    words: str


def examine(config: RunConfig, trainer: Trainer, networks: Networks) -> list[Finding]:
    """Everything that can be known before the first step, cheapest first."""
    looks: list[Callable[[RunConfig, Trainer, Networks], Finding]] = [
        _device,
        _model,
        _pictures,
        _memory,
        _disk,
    ]
    return [look(config, trainer, networks) for look in looks]


def show(findings: list[Finding], console: Console) -> None:
    """The findings as a table."""
    table = Table(title="Preflight", title_justify="left", show_header=False)
    for finding in findings:
        table.add_row(finding.what, MARKS[finding.verdict], finding.words)
    console.print(table)


def preflight(config: RunConfig, trainer: Trainer, networks: Networks, console: Console) -> None:
    """Show what was found; raises `RunFailed` if the run cannot end well."""
    findings = examine(config, trainer, networks)
    show(findings, console)
    stops = [finding.words for finding in findings if finding.verdict == "stop"]
    if stops:
        raise RunFailed("; ".join(stops))


def _device(config: RunConfig, trainer: Trainer, networks: Networks) -> Finding:
    device = trainer.device
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{device.type}, {torch.get_num_threads()} threads"
    words = f"{name}, precision {trainer.precision}"
    if device.type == "cpu" and trainer.precision == "bf16" and not cpu_multiplies_bf16():
        return Finding("device", "mind", f"{words}: this CPU emulates bf16, fp32 is faster")
    return Finding("device", "ok", words)


def _model(config: RunConfig, trainer: Trainer, networks: Networks) -> Finding:
    rows, columns = config.grid
    encoder = trainer.objective.kept_encoder()
    millions = sum(p.numel() for p in encoder.parameters()) / 1e6
    words = (
        f"encoder {millions:.1f} M parameters, grid {rows} x {columns}, "
        f"{networks.flops.total / 1e9:.2f} GFLOP per picture and step"
    )
    if encoder.width < NARROW and encoder.settings.initialisation not in ("fan_in", "smooth"):
        advice = "encoder.initialisation=fan_in predictor.initialisation=fan_in learns far faster"
        return Finding("model", "mind", f"{words}; at a width of {encoder.width} {advice}")
    return Finding("model", "ok", words)


def _pictures(config: RunConfig, trainer: Trainer, networks: Networks) -> Finding:
    count, classes = len(trainer.source), len(trainer.source.classes)
    words = f"{count} pictures, {classes or 'no'} classes, {trainer.stream.steps_per_epoch} steps"
    words += f" of {config.batch.size} per epoch"
    doubts: list[str] = []
    broken, num_read = _unreadable(trainer.source)
    if broken:
        told = f"{len(broken)} of {num_read} looked at cannot be read, e.g. {broken[0]}"
        share = config.data.max_broken_share
        if len(broken) == num_read or len(broken) > share * count:
            advice = "repair or remove them (jepa data inspect PICTURES lists all)"
            told += f"; {advice}, or set data.max_broken_share above {share:g}"
            return Finding("pictures", "stop", f"{words}; {told}")
        doubts.append(told)
    objective = config.objective
    plain = isinstance(objective, IJepa.Settings) and objective.regulariser.kind == "none"
    if plain and count < FEW:
        advice = "features often collapse: objective.regulariser.kind=vicreg helps"
        doubts.append(f"few for the paper's recipe, {advice}")
    elif count < VERY_FEW:
        advice = "an encoder from so few may know less than an untrained one, see docs/guides/"
        doubts.append(f"{advice}small-data.md")
    return Finding("pictures", "mind" if doubts else "ok", "; ".join([words, *doubts]))


def _unreadable(source: Source) -> tuple[list[BrokenPicture], int]:
    """Those that cannot be read of a few random pictures, or of all if all were decoded already."""
    if isinstance(source, DecodedSource):
        return source.broken, len(source)
    broken, looked_at = [], source.some(NUM_READ, 0, "preflight")
    for index in looked_at:
        try:
            source.sample(int(index))
        except BrokenPicture as error:
            broken.append(error)
    return broken, len(looked_at)


def _memory(config: RunConfig, trainer: Trainer, networks: Networks) -> Finding:
    pictures = trainer.facts["device_batch"]
    spread = sum(local_part(p).numel() for p in trainer.trained)
    share = spread / max(1, sum(p.numel() for p in trainer.trained))  # 1, unless it is spread

    def needed(number: int) -> float:
        return share * networks.state_bytes + networks.memory.peak(number)

    free = free_memory(trainer.device)
    words = f"about {needed(pictures) / GIB:.1f} GiB for {pictures} pictures at once, "
    words += f"{free / GIB:.1f} GiB free"
    if needed(pictures) <= free:
        return Finding("memory", "ok" if needed(pictures) < 0.9 * free else "mind", words)
    fewer = those_that_fit(pictures, lambda number: needed(number) < 0.9 * free)
    advice = f"not even one fits, {WHERE_NONE_FITS}"
    if fewer:
        advice = f"set {_name(config, 'batch.device', 'data.batch_size')}={fewer[0]}"
    return Finding("memory", "stop", f"{words}: {advice}")


def _disk(config: RunConfig, trainer: Trainer, networks: Networks) -> Finding:
    kept = config.checkpoint.keep_last + 1
    if config.checkpoint.keep_every_epochs:
        kept += int(config.optimization.epochs // config.checkpoint.keep_every_epochs)
    one = sum(v.numel() * v.element_size() for v in trainer.objective.state_dict().values())
    one += 8 * sum(p.numel() for p in trainer.trained)
    free = shutil.disk_usage(_existing(config.folder)).free
    words = f"checkpoints take up to {kept * one / GIB:.2f} GiB, {free / GIB:.1f} GiB free"
    if kept * one > free:
        name = _name(config, "folder", "logging.folder")
        return Finding("disk", "stop", f"{words}: free some, or choose {name}=ELSEWHERE")
    return Finding("disk", "ok", words)


def _name(config: RunConfig, ours: str, reference: str) -> str:
    """A setting as it is called in the file that the run began with."""
    return reference if config.reference_outputs else ours


def _existing(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)


def measure_pace(trainer: Trainer, num_steps: int = 6) -> tuple[float, float]:
    """(seconds per step, share waiting for pictures), from real steps. The trainer is used up."""
    batches = trainer.pace.timed(trainer.stream)
    num_warm = min(2, trainer.schedules.num_steps - 1)
    for step, micro_batches in enumerate(islice(batches, num_warm)):
        trainer.train_step(step, micro_batches)
    synchronise(trainer.device)
    begin, trainer.pace.waited, done = time.perf_counter(), 0.0, 0
    for step, micro_batches in enumerate(islice(batches, num_steps), start=num_warm):
        trainer.train_step(step, micro_batches)
        done += 1
    synchronise(trainer.device)
    seconds = time.perf_counter() - begin
    return seconds / done, trainer.pace.waited / seconds


def time_needed(trainer: Trainer) -> Finding:
    """Time per epoch and for the run, from a few real steps."""
    seconds, wait = measure_pace(trainer)
    total = trainer.schedules.num_steps
    words = (
        f"{trainer.pace.batch_size / seconds:.0f} images/s: an epoch takes "
        f"{in_words(seconds * trainer.stream.steps_per_epoch)}, the run {in_words(seconds * total)}"
    )
    loads_itself = trainer.device.type == "cpu" and not trainer.stream.num_workers
    if wait > (LONG_LOADING if loads_itself else 0.05):
        advice = f"{wait:.0%} of it waits for pictures, see docs/guides/feeding-the-gpu.md"
        return Finding("time", "mind", f"{words}; {advice}")
    return Finding("time", "ok", words)
