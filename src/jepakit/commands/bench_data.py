"""`jepa bench data`: how fast pictures come, in which form, and where the time of one goes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from jepakit.commands.loading_pipelines import (
    Some,
    mean_size,
    our_stream,
    thread_stream,
    usual_loader,
    write_files,
)
from jepakit.core.files import write_text
from jepakit.core.randomness import BatchRandom, generator
from jepakit.data.packing import Packing
from jepakit.data.sources import Source, build_source, guess_source
from jepakit.data.sources.decoded import DecodedSource
from jepakit.data.sources.tar_shards import TarShards
from jepakit.data.views import RandomView, crop_and_resize

BATCH = 32
USUAL = "torchvision, files"
Opener = Callable[[], AbstractContextManager[Iterable[Any]]]  # of an endless stream of batches


def bench_data(
    text: str, size: int, num_pictures: int, rounds: int, num_workers: int | None, out: Path | None
) -> int:
    """Measure and print; the speeds also go to the file `out`, everything else is temporary."""
    torch.set_num_threads(1)  # a worker has one, too
    console = Console()
    num_workers = num_workers or os.cpu_count() or 1
    whole = build_source(guess_source(text))
    chosen = generator(0, "bench data").permutation(len(whole))[:num_pictures]
    source = Some(whole, chosen.tolist())
    view = RandomView.Settings(size=size)
    with tempfile.TemporaryDirectory(prefix="jepa-bench-data-") as name:
        folder = Path(name)
        side = round(size * 256 / 224)
        forms: dict[str, Source] = {
            "files": source,
            "packed": _packed(source, folder / "packed", format="jpeg", shorter_side=side),
            "packed raw": _packed(source, folder / "raw", format="raw", shorter_side=side),
            "decoded": DecodedSource(source, folder / "decoded"),
        }
        usual = write_files(source, folder / "files")
        num_batches = max(2, len(source) // BATCH)
        measured = {}
        for workers in (0, num_workers):
            openers = _openers(forms, view, workers)
            if usual:
                openers = {USUAL: partial(_usual, folder / "files", view, workers)} | openers
            speeds = _in_turns(openers, rounds, num_batches * max(1, 2 * workers))
            measured[_place(workers)] = speeds
            console.print(_speed_table(speeds, workers, len(source), view))
        console.print(_stage_table(source, view))
        console.print(_bytes_table(source, view))
    if out is not None:
        facts = {"pictures": len(source), "size": size, "images_per_second": measured}
        write_text(out, json.dumps(facts, indent=1) + "\n")
    return 0


def _place(workers: int) -> str:
    return f"{workers} workers" if workers else "one core"


def _packed(source: Source, folder: Path, **how: Any) -> Source:
    """What `jepa pack` makes of it."""
    settings = Packing.Settings(channels=source.num_channels, **how)
    Packing(settings, {"all": source}, folder).run(lambda done, total: None)
    return build_source(TarShards.Settings(path=str(folder), channels=source.num_channels))


def _openers(
    forms: dict[str, Source], view: RandomView.Settings, workers: int
) -> dict[str, Opener]:
    openers: dict[str, Opener] = {
        form: partial(our_stream, given, view, BATCH, workers) for form, given in forms.items()
    }
    if workers:
        openers["files, threads"] = partial(thread_stream, forms["files"], view, BATCH, workers)
    return openers


def _usual(folder: Path, view: RandomView.Settings, workers: int) -> AbstractContextManager[Any]:
    return nullcontext(usual_loader(folder, view, BATCH, workers))


def _in_turns(openers: dict[str, Opener], rounds: int, num_batches: int) -> dict[str, list[float]]:
    """Images/s of each stream in every round; start-up and the first batch are not counted."""
    speeds: dict[str, list[float]] = {name: [] for name in openers}
    for _ in range(rounds):
        for name, opened in openers.items():
            with opened() as stream:
                batches = iter(stream)
                next(batches)
                begin = time.perf_counter()
                for _ in islice(batches, num_batches):
                    pass
                speeds[name].append(num_batches * BATCH / (time.perf_counter() - begin))
                del batches  # ends the workers of torchvision's loader
    return speeds


def _speed_table(
    speeds: dict[str, list[float]], workers: int, num_pictures: int, view: RandomView.Settings
) -> Table:
    """Medians, and medians of the ratios within each round."""
    title = f"{_place(workers)}: {num_pictures} pictures, views of {view.size[0]} x {view.size[1]}"
    table = Table(title=title, title_justify="left")
    for heading in ("pipeline", "images/s", "times torchvision"):
        table.add_column(heading, justify="left" if heading == "pipeline" else "right")
    for name, found in speeds.items():
        ratio = "–"
        if USUAL in speeds:
            ratio = f"{median(a / b for a, b in zip(found, speeds[USUAL], strict=True)):.2f}"
        table.add_row(name, f"{median(found):.0f}", ratio)
    return table


def _stage_table(source: Source, view: RandomView.Settings) -> Table:
    """Microseconds of every stage of a picture, one after another on one core."""
    spent: dict[str, float] = {}
    random_view = RandomView(view)
    batch = random_view.empty(1, source.num_channels)
    for index in [0, *range(len(source))]:  # the first one twice: it warms up and is not counted
        if index == 0:
            spent = dict.fromkeys(spent, 0.0)
        for stage, seconds in _stages(source, index, random_view, batch):
            spent[stage] = spent.get(stage, 0.0) + seconds
    total = sum(spent.values())
    table = Table(title="Where the time of a picture goes (files, one core)", title_justify="left")
    for heading in ("stage", "microseconds", "share"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage, seconds in spent.items():
        table.add_row(stage, f"{1e6 * seconds / len(source):.0f}", f"{seconds / total:.0%}")
    return table


def _stages(
    source: Source, index: int, view: RandomView, batch: torch.Tensor
) -> Iterator[tuple[str, float]]:
    marks = [time.perf_counter()]
    source.stored(index)
    marks.append(time.perf_counter())
    picture = source.open(index)
    marks.append(time.perf_counter())
    random = BatchRandom(0, 0).sample("view", index)
    box, _ = view.draw(picture.size, random)
    marks.append(time.perf_counter())
    picture.crop(box, view.size)
    marks.append(time.perf_counter())
    cut = crop_and_resize(picture, box, view.size)
    marks.append(time.perf_counter())
    batch[0] = cut
    marks.append(time.perf_counter())
    read, opened, drawn, decoded, cropped, collated = (
        after - before for before, after in pairwise(marks)
    )
    yield "read", read
    yield "open: header", max(0.0, opened - read)
    yield "draw the crop", drawn
    yield "decode", decoded
    yield "crop and resize", max(0.0, cropped - decoded)
    yield "collate", collated


def _bytes_table(source: Source, view: RandomView.Settings) -> Table:
    """Bytes written per picture: every time that they are produced or copied."""
    file, pixels = mean_size(source, range(len(source)))
    crop, cut = 0.65 * pixels, view.size[0] * view.size[1]  # the mean of the scale (0.3, 1)
    rows = {
        "torchvision": {
            "read": file,
            "decoded, 4 bytes per pixel, and converted": 8 * pixels,
            "cropped": 4 * crop,
            "resized": 4 * cut,
            "to array and tensor": 6 * cut,
            "to float32": 12 * cut,
            "collated": 12 * cut,
        },
        "files": {
            "read": file,
            "handed to the decoder": file,
            "decoded": 3 * pixels,
            "cropped": 3 * crop,
            "resized": 3 * cut,
            "collated": 3 * cut,
        },
        "raw or decoded": {"cropped": 3 * crop, "resized": 3 * cut, "collated": 3 * cut},
    }
    table = Table(title="Kilobytes written per picture", title_justify="left")
    for heading in ("pipeline", "kB", "of which"):
        table.add_column(heading, justify="right" if heading == "kB" else "left")
    for name, steps in rows.items():
        told = ", ".join(f"{what} {count / 1e3:.0f}" for what, count in steps.items())
        table.add_row(name, f"{sum(steps.values()) / 1e3:.0f}", told)
    return table
