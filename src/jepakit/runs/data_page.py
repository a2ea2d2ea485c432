"""One page about a dataset: numbers, a contact sheet, what is broken or twice, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from jepakit.core.randomness import generator
from jepakit.data.inspection import Place
from jepakit.data.shrinking import pixels_at_most
from jepakit.data.sources import BrokenPicture
from jepakit.runs.data_report import UNLABELLED, DataReport, Pair
from jepakit.version import __version__
from jepakit.visualization import Code, Facts, Gallery, Picture, Section, Table, Text, write_page
from jepakit.visualization.tiles import to_colour

NUM_SHOWN, NUM_PAIRS = 48, 12  # pictures and pairs on the page
MOST_ROWS = 1000
_SIDE = 144  # pixels of a thumbnail's shorter side
_BAR = 40  # characters of the longest bar


def write_data_page(
    report: DataReport, choices: Sequence[tuple[str, ...]], data: str, path: Path
) -> None:
    """Write the page; `choices` are the settings, values and reasons of a training on the data."""
    sections: list[Section] = [Facts(tuple(report.facts()), heading="At a glance")]
    sections += [Text(warning, tone="warning") for warning in report.warnings()]
    sections += [*_pictures(report), *_sizes(report), *_classes(report), *_broken(report)]
    sections += _pairs(report, report.same_files, "The same file twice")
    sections += _pairs(report, report.look_alikes, "Pictures that look alike")
    if choices:
        sections.append(
            Table(("setting", "value", "why"), tuple(choices), heading="What a training would do")
        )
        sections.append(Code(f"jepa pretrain --data {data}"))
    lead = "What these pictures are, and what to know before training on them."
    write_page(path, f"Pictures: {data}", sections, lead, f"written by jepakit {__version__}")


def _pictures(report: DataReport) -> list[Section]:
    seen = report.inspection.seen
    chosen = generator(0, "contact sheet").permutation(len(seen))[:NUM_SHOWN]
    shown = [_thumbnail(report, seen[place].place) for place in np.sort(chosen)]
    pictures = tuple(picture for picture in shown if picture)
    caption = f"{len(pictures)} pictures at random."
    gallery = Gallery(pictures, caption, heading="A contact sheet", narrowest=_SIDE)
    return [gallery] if pictures else []


def _thumbnail(report: DataReport, place: Place) -> Picture | None:
    """A small picture with its class; None if it could be read before, but not now."""
    source, index = list(report.parts.values())[place[0]], place[1]
    try:
        pixels = pixels_at_most(source.open(index), _SIDE)
    except BrokenPicture:
        return None
    small = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
    label, name = source.label(index), report.name(place)
    caption = source.classes[label] if label >= 0 else name
    return Picture(to_colour(small[None])[0], name, caption=caption)


def _sizes(report: DataReport) -> list[Section]:
    if not report.inspection.seen:
        return []
    ranges = report.shorter_sides()
    most = max(count for _, count in ranges)
    rows = tuple((name, count, "█" * round(_BAR * count / most)) for name, count in ranges)
    return [Table(("shorter side, pixels", "pictures", ""), rows, heading="Sizes")]


def _classes(report: DataReport) -> list[Section]:
    counts = report.class_counts()
    if all(name == UNLABELLED for name, _ in counts):
        return []
    parts = tuple(report.parts) if len(report.parts) > 1 else ("pictures",)
    rows = tuple((name, *map(str, numbers)) for name, numbers in counts[:MOST_ROWS])
    more = f"{len(counts) - MOST_ROWS:,} more are not shown." if len(counts) > MOST_ROWS else ""
    return [Table(("class", *parts), rows, caption=more, heading="Classes")]


def _broken(report: DataReport) -> list[Section]:
    broken = list(report.inspection.broken.items())
    rows = tuple((report.name(place), error.reason) for place, error in broken[:MOST_ROWS])
    heading = "Pictures that cannot be read"
    return [Table(("picture", "reason"), rows, heading=heading)] if rows else []


def _pairs(report: DataReport, pairs: Sequence[Pair], heading: str) -> list[Section]:
    shown: list[Picture] = []
    for pair in pairs[:NUM_PAIRS]:
        found = [_thumbnail(report, picture.place) for picture in pair]
        shown += [replace(each, caption=each.alt) for each in found if each]
    caption = f"{len(pairs):,} in all; each picture beside the earlier one."
    return [Gallery(tuple(shown), caption, heading, narrowest=_SIDE)] if shown else []
