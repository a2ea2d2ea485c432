"""Verbs that use what was trained: judge it, look into it, hand it on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jepakit.cli.app import app
from jepakit.cli.words import (
    BatchSize,
    Branch,
    Data,
    Device,
    Devices,
    Loaders,
    ModelName,
    Partial,
    Precision,
    SeeingWords,
    SeenSize,
    Split,
    Values,
    Words,
    all_there,
    there,
)


@app.command()
def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="run folders, checkpoints, hf:ORG/NAME, timm:MODEL; settings: num_test=1000",
            metavar="WHAT... [A.B=VALUE]...",
            callback=all_there,
        ),
    ] = None,
    data: Data = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            help="knn, linear, linear_sweep, low_shot, low_shot_fine_tune, attentive, fine_tune, "
            "counting, distance; with commas, no spaces",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file, e.g. configs/evaluation/paper.yaml")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="repeat what draws at random", min=1)
    ] = None,
    size: SeenSize = None,
    values: Values = None,
    out: Annotated[Path | None, typer.Option("--out", help="where the results are written")] = None,
) -> None:
    """Score encoders by the paper's protocols beside a random encoder and raw pixels."""
    from jepakit.commands.evaluate import evaluate as run

    raise typer.Exit(run(words or [], data, tasks, config, seeds, size, values, out))


@app.command()
def export(
    what: Annotated[
        str,
        typer.Argument(
            help="a run folder, a checkpoint, hf:ORG/NAME, timm:MODEL, a .pth.tar or .safetensors",
            metavar="WHAT",
            show_default=False,
            callback=there,
        ),
    ],
    out: Annotated[
        Path, typer.Argument(help="the new file or folder", metavar="OUT", show_default=False)
    ],
    to: Annotated[
        str,
        typer.Option("--to", help="huggingface, timm, meta, safetensors, onnx or torch-export"),
    ] = "huggingface",
    branch: Annotated[str, typer.Option("--branch", help="target or context")] = "target",
    size: Annotated[
        str | None, typer.Option("--size", metavar="H[,W]", help="resample positions to it")
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="of onnx: fp32, fp16, int8; prints what it costs")
    ] = "fp32",
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="PICTURES", help="to compare on; default: the run's"),
    ] = None,
    licence: Annotated[str, typer.Option("--license", help="of the model card")] = "unknown",
    push: Annotated[
        str | None, typer.Option("--push", metavar="ORG/NAME", help="publish on the Hub")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="publish for yourself")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what is there")] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", help="of a model on the Hub")
    ] = None,
    partial: Partial = False,
) -> None:
    """Write weights for other libraries; they are read again and compared before it is done."""
    from jepakit.commands.export import export_named as run

    chosen = {
        **{"branch": branch, "size": size, "precision": precision, "data": data},
        **{"licence": licence, "push": push, "private": private, "overwrite": overwrite},
        **{"revision": revision, "partial": partial},
    }
    raise typer.Exit(run(what, to, out, chosen))


@app.command()
def features(
    model: ModelName,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="a .parquet, .npy or .safetensors file")
    ] = None,
    layers: Annotated[
        str, typer.Option("--layers", help="which, side by side: from 0, or back from -1")
    ] = "-1",
    pool: Annotated[
        str, typer.Option("--pool", help="mean, max, or none: the tokens themselves")
    ] = "mean",
    half: Annotated[bool, typer.Option("--half", help="write 16 bits per number")] = False,
    size: SeenSize = None,
    branch: Branch = "target",
    partial: Partial = False,
    precision: Precision = "auto",
    split: Split = None,
    values: Values = None,
    batch_size: BatchSize = 256,
    num_workers: Loaders = None,
    devices: Devices = None,
) -> None:
    """Write the features of all pictures into one file; the same command continues."""
    from jepakit.commands.features import features as run

    asked = {
        **{"model": model, "data": data, "out": out, "layers": layers, "pool": pool, "half": half},
        **{"size": size, "branch": branch, "precision": precision, "split": split},
        **{"values": values, "batch_size": batch_size, "num_workers": num_workers},
        "partial": partial,
    }
    raise typer.Exit(run(asked, devices or []))


@app.command()
def search(
    model: ModelName,
    data: Data = None,
    queries: Annotated[
        list[str] | None, typer.Option("--query", help="a picture's file; repeatable")
    ] = None,
    num: Annotated[int, typer.Option("--num", help="pictures to find", min=1)] = 12,
    out: Annotated[Path, typer.Option("--out", help="the page to write")] = Path("search.html"),
    engine: Annotated[
        str, typer.Option("--engine", help="faiss, exact, or auto: faiss if it is installed")
    ] = "auto",
    branch: Branch = "target",
    partial: Partial = False,
    precision: Precision = "auto",
    split: Split = None,
    values: Values = None,
    batch_size: BatchSize = 256,
    num_workers: Loaders = None,
    device: Device = "auto",
) -> None:
    """Find the pictures that are nearest to a query; features are made once and kept."""
    from jepakit.commands.search import search as run

    asked = {
        **{"model": model, "data": data, "out": out, "num": num, "engine": engine},
        **{"branch": branch, "precision": precision, "split": split, "values": values},
        **{"batch_size": batch_size, "num_workers": num_workers, "partial": partial},
    }
    raise typer.Exit(run(asked, queries or [], device))


@app.command()
def visualize(
    model: ModelName,
    words: Words = None,
    data: Data = None,
    what: Annotated[
        str | None,
        typer.Option(
            "--what",
            help="masks,maps,energy,retrieval,film,anomaly,imagine",
            show_default="the first four",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder for PNG files and page; default: the run's")
    ] = None,
    decoder: Annotated[
        str | None, typer.Option("--decoder", metavar="RUN", help="of imagine: a decoder's run")
    ] = None,
    size: SeenSize = None,
    precision: Precision = "auto",
    split: Split = None,
    values: Values = None,
    device: Device = "auto",
) -> None:
    """Draw what a model sees, holds and expects: PNG files and one page."""
    from jepakit.commands.visualize import visualize as run

    asked = {
        **{"model": model, "data": data, "what": what, "out": out, "size": size},
        **{"precision": precision, "split": split, "values": values, "device": device},
        "decoder": decoder,
    }
    raise typer.Exit(run(asked, words or []))


@app.command()
def studio(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="run folders, checkpoints, timm:MODEL, …; settings: num_pictures=12",
            metavar="MODEL... [A.B=VALUE]...",
            callback=all_there,
        ),
    ] = None,
    data: Data = None,
    decoder: Annotated[
        str | None,
        typer.Option("--decoder", help="a decoder's run, of the first model"),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="address to answer at; the default is seen from this machine alone",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option("--port", help="of the page", min=0, max=65535, show_default="a free one"),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="open a browser")] = False,
    size: SeenSize = None,
    precision: Precision = "auto",
    split: Split = None,
    values: Values = None,
    device: Device = "auto",
) -> None:
    """Hide a box of a picture on a local page, and see what models expect there."""
    from jepakit.commands.studio import studio as run

    asked = {
        **{"data": data, "decoder": decoder, "host": host, "port": port, "open": open_it},
        "size": size,
        **{"precision": precision, "split": split, "values": values, "device": device},
    }
    raise typer.Exit(run(words or [], asked))


@app.command()
def report(
    run: Annotated[
        str, typer.Argument(help="a run folder, or one of its checkpoints", callback=there)
    ],
    words: SeeingWords = None,
    data: Annotated[
        str | None, typer.Option("--data", help="pictures to draw; default: the run's own")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="the page; default: in the run")] = None,
    decoder: Annotated[
        str | None, typer.Option("--decoder", metavar="RUN", help="draws imagined contents too")
    ] = None,
    device: Device = "auto",
) -> None:
    """Everything about a run on one page: settings, curves and verdicts, scores, drawings."""
    from jepakit.commands.report import report as write

    raise typer.Exit(write(Path(run), words or [], data, out, decoder, device))
