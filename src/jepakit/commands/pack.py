"""`jepa pack`: any pictures into tar shards; run again it goes on, or says that all is there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from jepakit.commands.counted_work import CountedWork
from jepakit.core.byte_sizes import in_bytes, parse_bytes
from jepakit.data.packing import PackedFolder, Packing, verify
from jepakit.data.sources.pack_description import PackDescription
from jepakit.runs.given_pictures import open_given, parse_values
from jepakit.runs.yaml_file import check
from jepakit.training.progress import in_words


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
    packing = Packing(settings, parts, out, num_workers, work.tell)
    packed, begin = packing.finished(), time.monotonic()
    if packed is not None:
        console.print("[bold]packed already[/], nothing to do", highlight=False)
    else:
        with work:
            try:
                packed = packing.run(work, max_broken_share)
            except KeyboardInterrupt:
                console.print(f"stopped; the same command goes on in {out}", highlight=False)
                return work.interruption.exit_code
        console.print(f"packed in {in_words(time.monotonic() - begin)}", highlight=False)
    _summarise(console, packed, list(parts) if len(parts) > 1 else [""], out)
    return 0


def verify_packed(out: Path) -> int:
    """Compare every shard with its checksum; 1 if one is damaged."""
    console = Console()
    with CountedWork(console, "verifying", "bytes") as work:
        wrong = verify(out, work)
    for file, reason in wrong.items():
        console.print(f"[bold red]damaged:[/] {file} {reason}", highlight=False, soft_wrap=True)
    if not wrong:
        console.print(f"every shard of {out} is as it was packed", highlight=False, soft_wrap=True)
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
        console.print(
            f"{folder.path}: {part.num_pictures:,} pictures in {_counted(len(part.shards), 'shard')}, "
            f"{in_bytes(folder.num_bytes())}",
            highlight=False,
            soft_wrap=True,
        )
        if num_broken := folder.num_broken():
            console.print(
                f"[bold red]left out:[/] {_counted(num_broken, 'picture')} that cannot be read, listed in "
                f"{folder.broken_pictures}",
                highlight=False,
                soft_wrap=True,
            )
    console.print(f"to train on them: jepa pretrain --data {out}", highlight=False, soft_wrap=True)


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
