"""`jepa search`: the pictures of a dataset that are nearest to a query, as a table and a page."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from jepakit.commands.counted_work import CountedWork
from jepakit.core.files import made_in, told_if_full
from jepakit.core.settings import Settings
from jepakit.data.sources.folder_index import cache_root
from jepakit.data.sources.source import Pixels
from jepakit.evaluation.features import Reading
from jepakit.evaluation.nearest import Engine, nearest
from jepakit.launch.local import num_cores
from jepakit.runs.channel_values import doubt_about_values
from jepakit.runs.extraction import Extraction
from jepakit.runs.given_pictures import open_given, parse_values
from jepakit.runs.model import open_model
from jepakit.runs.search_page import Answer, Found, write_search
from jepakit.runs.weights import Branch
from jepakit.runs.yaml_file import check


class Asked(Settings):
    """What was typed."""

    model: str
    data: str
    out: Path
    num: int
    engine: Engine
    branch: Branch
    partial: bool
    precision: Literal["auto", "fp32", "bf16"]
    split: str | None
    values: str | None
    batch_size: int
    num_workers: int | None


def search(typed: Mapping[str, Any], queries: Sequence[str], device: str) -> int:
    """Make the features of the pictures once, and keep them; look for each query among them."""
    console = Console()
    if typed["data"] is None or not queries:
        raise ValueError("name the pictures and a query: --data PICTURES --query picture.jpg")
    asked = check(Asked, dict(typed))
    for query in queries:
        path = Path(query).expanduser()
        if not path.is_file():
            told = "it is a folder: give a file" if path.is_dir() else "there is no such file"
            raise ValueError(f"{query} cannot be used: {told}")
    made_in(asked.out.parent)
    values = parse_values(asked.values)
    model = open_model(
        *(asked.model, device, asked.branch, asked.precision),
        partial=asked.partial,
        values=values,
    )
    console.print(model.report.sentence, style="dim", markup=False, soft_wrap=True)
    asking = torch.from_numpy(model.features(queries))  # first: a mistake here costs nothing yet
    splits = open_given(asked.data, model.num_channels, values, asked.split, model.values)
    for told in filter(None, {doubt_about_values(source) for source in splits.values()}):
        console.print(told, style="dim", markup=False, soft_wrap=True)
    known = [model.subject.fingerprint, *(source.fingerprint() for source in splits.values())]
    folder = cache_root() / "search" / hashlib.sha256(repr(known).encode()).hexdigest()[:24]
    workers = num_cores() if asked.num_workers is None else asked.num_workers
    extraction = Extraction(model.subject, splits, Reading(), folder, asked.batch_size, workers)
    work = CountedWork(Console(stderr=True), "features")
    with told_if_full(folder), work:
        try:
            extraction.make(0, 1, work)
        except KeyboardInterrupt:
            return work.interruption.exit_code
    answers = _answers(extraction, list(queries), model.views(queries), asking, asked)
    for answer in answers:
        console.print(_table(answer))
    command = ["jepa", "search", asked.model, "--data", asked.data]
    command += [word for query in queries for word in ("--query", query)]
    about = f"The nearest of {len(extraction):,} pictures by the cosine of their features."
    write_search(answers, about, shlex.join(command), asked.out)
    console.print(f"open {asked.out.resolve()}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _answers(
    extraction: Extraction,
    names: Sequence[str],
    views: np.ndarray,
    asking: torch.Tensor,
    asked: Asked,
) -> list[Answer]:
    made = list(extraction.rows())
    places = [(p.split, p.pictures.source, int(i)) for p, _ in made for i in p.pictures.indices]
    found = nearest(torch.cat([rows for _, rows in made]), asking, asked.num, asked.engine)
    answers = []
    several = len(extraction.splits) > 1
    for query, name in enumerate(names):
        near = []
        for place, cosine in zip(found.places[query], found.cosines[query], strict=True):
            split, source, index = places[int(place)]
            label = source.label(index)
            named = source.classes[label] if label >= 0 and source.classes else None
            shown = f"{split}/{source.name(index)}" if several else source.name(index)
            near.append(Found(shown, named, float(cosine), source.open(index)))
        answers.append(Answer(name, Pixels(views[query]), near))
    return answers


def _table(answer: Answer) -> Table:
    labelled = any(one.label is not None for one in answer.found)
    columns = ["", "cosine", *(["class"] if labelled else []), "picture"]
    table = Table(*columns, title=f"nearest to {answer.query}", title_justify="left")
    for rank, one in enumerate(answer.found, start=1):
        label = [one.label or ""] if labelled else []
        table.add_row(str(rank), f"{one.cosine:.4f}", *label, one.name)
    return table
