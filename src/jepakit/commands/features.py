"""`jepa features`: the features of a dataset in one file; a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from jepakit.commands.counted_work import CountedWork
from jepakit.core.devices import choose_device
from jepakit.core.distributed import Place
from jepakit.core.files import held, made_in, told_if_full, write_text
from jepakit.core.settings import Settings
from jepakit.data.sources.decoding import decoding_of
from jepakit.evaluation.features import Pool, Reading
from jepakit.launch.local import launch, num_cores
from jepakit.runs.channel_values import doubt_about_values
from jepakit.runs.extraction import Extraction
from jepakit.runs.feature_files import check_kind, table_of, write_table
from jepakit.runs.given_pictures import open_given, parse_values
from jepakit.runs.model import open_model
from jepakit.runs.weights import Branch
from jepakit.runs.yaml_file import check
from jepakit.training.progress import in_words
from jepakit.version import __version__


class Asked(Settings):
    """What was typed."""

    model: str
    data: str
    out: Path
    layers: str
    pool: Pool
    half: bool
    size: int | None
    branch: Branch
    partial: bool
    precision: Literal["auto", "fp32", "bf16"]
    split: str | None
    values: str | None
    batch_size: int
    num_workers: int | None

    @property
    def reading(self) -> Reading:
        """Raises `ValueError` for layers that are no numbers."""
        try:
            layers = tuple(int(layer) for layer in self.layers.split(","))
        except ValueError:
            told = f"--layers {self.layers} are no numbers"
            raise ValueError(f"{told}: write e.g. --layers=-2,-1") from None
        return Reading(layers, self.pool)

    def words(self) -> list[str]:
        """The same, typed for another process."""
        given = self.model_dump(exclude_none=True, exclude={"model", "half", "partial"})
        given["workers"] = given.pop("num_workers", None)
        options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value]
        flags = [f"--{name}" for name in ("half", "partial") if getattr(self, name)]
        return ["features", self.model, *options, *flags]


def features(typed: Mapping[str, Any], devices: Sequence[str]) -> int:
    """Make what is missing on every device named, then write the file; returns the exit code."""
    console = Console(stderr=True)
    if typed["data"] is None or typed["out"] is None:
        raise ValueError("name the pictures and a file: --data PICTURES --out features.parquet")
    asked = check(Asked, dict(typed))
    check_kind(asked.out)
    made_in(asked.out.parent)
    reading = asked.reading
    if place := _place_among_processes():
        return _make(_open(asked, os.environ["JEPAKIT_DEVICE"], reading), place, console)[0]
    kinds = {choose_device(device).type for device in devices}
    if len(kinds) > 1:
        raise ValueError(f"--devices are of different kinds ({', '.join(kinds)}): name one kind")
    extraction = _open(asked, devices[0] if devices else "auto", reading)
    about = _about(asked, extraction)
    if _is_finished(asked.out, about):
        _tell(console, f"made already: {asked.out} holds these features")
        return 0
    extraction.folder.mkdir(parents=True, exist_ok=True)
    refusal = f"another process is making {asked.out}: wait for it, or choose another --out"
    with held(extraction.folder / ".lock", refusal), told_if_full(asked.out.parent):
        try:
            code = _make_on(devices, asked, extraction, console)
        finally:
            if not extraction.num_made():
                shutil.rmtree(extraction.folder)
        if code:
            return code
        _write(asked, extraction, about, console)
    shutil.rmtree(extraction.folder)
    return 0


def _place_among_processes() -> Place | None:
    """None in the process that was typed."""
    return Place.from_environment() if "JEPAKIT_DEVICE" in os.environ else None


def _open(asked: Asked, device: str, reading: Reading) -> Extraction:
    model = open_model(asked.model, device, asked.branch, asked.precision, partial=asked.partial)
    reading.check(model.depth)
    size = model.checked_size(asked.size)
    values = parse_values(asked.values)
    splits = open_given(asked.data, model.num_channels, values, asked.split, model.values)
    if "JEPAKIT_DEVICE" not in os.environ:
        narrow = {doubt_about_values(source) for source in splits.values()}
        for told in (model.report.sentence, *filter(None, narrow)):
            _tell(Console(stderr=True), told)
    workers = asked.num_workers
    if workers is None:
        workers = num_cores() // Place.from_environment().world_size
    return Extraction(
        replace(model.subject, size=size),
        splits,
        reading,
        asked.out.with_name(f"{asked.out.name}.parts"),
        asked.batch_size,
        workers,
    )


def _make_on(devices: Sequence[str], asked: Asked, extraction: Extraction, console: Console) -> int:
    """Make all parts, here or in a process per device; returns the exit code."""
    begin, before = time.monotonic(), extraction.num_made()
    if len(devices) < 2:
        code, made = _make(extraction, Place(), console)
    else:
        code = launch([sys.executable, "-m", "jepakit", *asked.words()], devices)
        made = extraction.num_made() - before
    seconds = time.monotonic() - begin
    if code:
        _tell(console, "stopped; the same command goes on")
    elif made:
        speed = f"{made / seconds:,.0f} pictures/s"
        _tell(console, f"{made:,} pictures in {in_words(seconds)}: {speed}")
    return code


def _make(extraction: Extraction, place: Place, console: Console) -> tuple[int, int]:
    """This process's share: exit code, and number of pictures made."""
    work = CountedWork(console, "features")
    with work:
        try:
            watch = work if place.is_first else work.obey
            made = extraction.make(place.rank, place.world_size, watch)
        except KeyboardInterrupt:
            return work.interruption.exit_code, 0
    return 0, made


def _about(asked: Asked, extraction: Extraction) -> dict[str, Any]:
    """What the file holds; two files with the same `key` hold the same."""
    subject, splits = extraction.subject, extraction.splits
    known = {
        "weights": subject.fingerprint,
        "pictures": {name: source.fingerprint() for name, source in splits.items()},
        "layers": list(extraction.reading.layers),
        "pool": extraction.reading.pool,
        "size": list(subject.size),
        "precision": subject.precision,
        "half": asked.half,
    }
    hows = {name: decoding_of(source) for name, source in splits.items()}
    values = {name: how.values if how else None for name, how in hows.items()}
    key = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:24]
    named = {"model": asked.model, "branch": asked.branch, "data": asked.data, "values": values}
    classes = {name: list(source.classes) for name, source in splits.items()}
    shape = {"shape": list(extraction.shape), "classes": classes}
    return {"key": key, **named, **known, **shape, "written_by": f"jepakit {__version__}"}


def _description(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def _is_finished(out: Path, about: dict[str, Any]) -> bool:
    """Whether the file holds this already; `ValueError` if it holds something else."""
    if not out.exists():
        return False
    try:
        found = json.loads(_description(out).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found == about["key"]:
        return True
    raise ValueError(
        f"{out} is there already and holds something else: choose another --out, or remove it"
    )


def _write(asked: Asked, extraction: Extraction, about: dict[str, Any], console: Console) -> None:
    table = table_of(extraction, asked.half, about)
    # The description comes first: a file without it would be taken for somebody else's.
    write_text(_description(asked.out), json.dumps(table.about, indent=1))
    write_table(table, asked.out)
    shape = " x ".join(str(length) for length in table.whole_shape)
    _tell(console, f"{asked.out}: {shape}")
    if left_out := table.about["left_out"]:
        some = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        _tell(console, f"left out, because they cannot be read: {len(left_out):,} ({some})")


def _tell(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
