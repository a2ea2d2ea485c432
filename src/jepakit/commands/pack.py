"""`jepa pack`: any pictures into tar shards; run again it goes on, or says that all is there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from jepakit.commands.counted_work import CountedWork
from jepakit.core.byte_sizes import in_bytes, parse_bytes
from jepakit.core.durations import in_words
from jepakit.data.packing import PackedFolder, Packing, verify
from jepakit.data.sources.pack_description import PackDescription
from jepakit.runs.channel_values import doubt_about_values
from jepakit.runs.given_pictures import open_given, parse_values
from jepakit.runs.yaml_file import check


def pack(
    data: str,
    out: Path,
    asked: dict[str, Any],
    split: str | None,
    num_workers: int,
    max_broken_share: float,
) -> int:
    """Pack the parts of a dataset into `out`, or one of them; `asked` as typed, None = not."""
    console = Console()
    settings = _settings(asked)
    parts = open_given(data, settings.channels, settings.values, split)
    work = CountedWork(console, "packing")
    if settings.format != "keep":
        for told in filter(None, {doubt_about_values(source) for source in parts.values()}):
            _tell(console, told, "yellow")
    packing = Packing(settings, parts, out, num_workers, work.tell)
    packed, begin = packing.finished(), time.monotonic()
    if packed is not None:
        _tell(console, "packed already, nothing to do")
    else:
        with work:
            try:
                packed = packing.run(work, max_broken_share)
            except KeyboardInterrupt:
                _tell(console, f"stopped; the same command goes on in {out}")
                return work.interruption.exit_code
        _tell(console, f"packed in {in_words(time.monotonic() - begin)}")
    _summarise(console, packed, list(parts) if len(parts) > 1 else [""], out)
    return 0


def verify_packed(out: Path) -> int:
    """Compare every shard with its checksum; 1 if one is damaged."""
    console = Console()
    with CountedWork(console, "verifying", "bytes") as work:
        wrong = verify(out, work)
    for file, reason in wrong.items():
        _tell(console, f"damaged: {file} {reason}", "bold red")
    if not wrong:
        _tell(console, f"every shard of {out} is as it was packed")
    return int(bool(wrong))


def _settings(asked: dict[str, Any]) -> Packing.Settings:
    given = {name: value for name, value in asked.items() if value is not None}
    for name in {"shard_bytes", "max_bytes"} & given.keys():
        given[name] = parse_bytes(given[name])
    if "values" in given:
        given["values"] = parse_values(given["values"])
    settings: Packing.Settings = check(Packing.Settings, given)
    return settings


def _summarise(
    console: Console, packed: Sequence[PackDescription], names: Sequence[str], out: Path
) -> None:
    for name, part in zip(names, packed, strict=True):
        folder = PackedFolder(out / name)
        pictures = f"{part.num_pictures:,} pictures"
        shards = "1 shard" if len(part.shards) == 1 else f"{len(part.shards):,} shards"
        size = in_bytes(folder.num_bytes())
        _tell(console, f"{folder.path}: {pictures}, {shards}, {size}")
        if num_broken := folder.num_broken():
            told = f"{num_broken:,} pictures that cannot be read"
            _tell(console, f"left out: {told}: {folder.broken_pictures}", "bold red")
    _tell(console, f"to train on them: jepa pretrain --data {out}")


def _tell(console: Console, line: str, style: str = "") -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
