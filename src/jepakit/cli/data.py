"""Verbs for pictures: look at them, pack them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from jepakit.cli.app import app, data_commands
from jepakit.cli.words import PICTURES, Channels, NumWorkers, Pictures, Split, Values


@app.command()
def pack(
    pictures: Annotated[str | None, typer.Argument(help=PICTURES, metavar="PICTURES")] = None,
    out: Annotated[Path | None, typer.Argument(help="a new folder", metavar="OUT")] = None,
    shorter_side: Annotated[
        int | None, typer.Option("--shorter-side", help="shrink larger pictures to it, in pixels")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help="keep (the files as they are), jpeg, webp, png, raw (.npy)"),
    ] = None,
    quality: Annotated[int | None, typer.Option("--quality", help="of jpeg and webp, 90")] = None,
    shard_bytes: Annotated[
        str | None, typer.Option("--shard-bytes", help="of one shard, at most: 256MB, 1GB")
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option("--max-bytes", help="of everything: chooses size and quality to fit"),
    ] = None,
    split: Split = None,
    channels: Channels = 3,
    values: Values = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="decode pictures that are kept as they are")
    ] = True,
    num_workers: NumWorkers = os.cpu_count() or 1,
    max_broken_share: Annotated[
        float, typer.Option("--max-broken-share", help="of pictures left out", min=0, max=1)
    ] = 0.01,
    verify: Annotated[
        Path | None, typer.Option("--verify", help="only compare a packed folder's checksums")
    ] = None,
) -> None:
    """Write pictures into tar shards (WebDataset); the same command continues, or finds it done."""
    from jepakit.commands.pack import pack as run
    from jepakit.commands.pack import verify_packed

    if verify is not None:
        raise typer.Exit(verify_packed(verify))
    if pictures is None or out is None:
        raise ValueError("name the pictures and a folder for the shards: jepa pack PICTURES OUT")
    asked = {
        **{"shorter_side": shorter_side, "format": format, "quality": quality, "values": values},
        **{"shard_bytes": shard_bytes, "max_bytes": max_bytes, "channels": channels},
        "check": check,
    }
    raise typer.Exit(run(pictures, out, asked, split, num_workers, max_broken_share))


@data_commands.command("inspect")
def data_inspect(
    pictures: Pictures,
    out: Annotated[Path | None, typer.Option("--out", help="write a page, e.g. page.html")] = None,
    sample: Annotated[
        int, typer.Option("--sample", help="look at so many pictures at most", min=1)
    ] = 10_000,
    channels: Channels = 3,
    values: Values = None,
    split: Split = None,
    num_workers: NumWorkers = os.cpu_count() or 1,
) -> None:
    """Sizes, kinds of file, classes, broken and repeated pictures, and how to train on them."""
    from jepakit.commands.inspect_data import inspect_data as run

    raise typer.Exit(run(pictures, out, sample, channels, values, split, num_workers))


@data_commands.command("stats")
def data_stats(
    pictures: Pictures,
    channels: Channels = 3,
    values: Values = None,
    split: Split = None,
    num_pictures: Annotated[
        int, typer.Option("--num-pictures", help="look at so many, at random", min=1)
    ] = 1000,
    out: Annotated[Path | None, typer.Option("--out", help="write the YAML to a file")] = None,
) -> None:
    """Mean, deviation and range of each channel, as YAML to paste into a config."""
    from jepakit.commands.data_stats import data_stats as run

    raise typer.Exit(run(pictures, channels, values, split, num_pictures, out))
