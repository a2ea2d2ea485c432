"""`jepa <verb>`: the only argument parsing of the package. Torch is imported by the verbs."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from jepakit.core.errors import RunFailed
from jepakit.version import __version__

app = typer.Typer(
    name="jepa",
    help="Train, test and look into joint-embedding predictive models on your own pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")
data_commands = typer.Typer(help="Look at pictures before training on them.", no_args_is_help=True)
app.add_typer(data_commands, name="data")
checkpoint_commands = typer.Typer(help="Checkpoints of a run.", no_args_is_help=True)
app.add_typer(checkpoint_commands, name="checkpoint")

Config = Annotated[  # text, not a path: without a file the first word is a setting
    str | None, typer.Argument(help="YAML file; without one, settings are chosen for you")
]
Words = Annotated[
    list[str] | None,
    typer.Argument(help="settings, e.g. optimization.epochs=50", metavar="[A.B=VALUE]..."),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PICTURES",
        help="a folder, .tar files (also URLs), a .csv or .parquet table, .npy, "
        "hf:NAME, torchvision:NAME, scenes",
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option("--devices", help="one process per device: cpu, cuda:0, 1, mps; repeatable"),
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda:0, mps")]
Partial = Annotated[bool, typer.Option("--partial", help="accept missing or unknown tensors")]


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Joint-embedding predictive models on your own pictures."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def pretrain(
    config: Config = None,
    words: Words = None,
    data: Data = None,
    devices: Devices = None,
    show: Annotated[
        bool, typer.Option("--print", help="print the resolved settings and stop")
    ] = False,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            "--slurm",
            metavar="NAME=VALUE...",
            help="as a job of a SLURM cluster: partition=lab nodes=2 gpus_per_node=8 time=2-00",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="with --slurm: print the batch script, submit nothing")
    ] = False,
) -> None:
    """Train an encoder; the same command continues an unfinished run."""
    path, settings = _split(config, words)
    if slurm is None:
        if dry_run:
            raise ValueError("--dry-run shows a batch script: add --slurm partition=NAME …")
        from jepakit.commands.pretrain import pretrain as run

        raise typer.Exit(run(path, settings, data, devices or [], show))
    if devices:
        raise ValueError("with --slurm leave --devices out: write device=cpu after --slurm")
    from jepakit.commands.submission import pretrain_on_slurm

    raise typer.Exit(pretrain_on_slurm(path, settings, data, slurm, dry_run))


Folder = Annotated[
    Path, typer.Argument(help="a run folder, or the folder of its jobs' logs", metavar="FOLDER")
]


@app.command()
def status(folder: Folder) -> None:
    """How far runs have come, when they will end, and what their jobs do."""
    from jepakit.commands.status import status as run

    raise typer.Exit(run(folder))


@app.command()
def logs(
    folder: Folder,
    rank: Annotated[int, typer.Option("--rank", help="of which process", min=0)] = 0,
    lines: Annotated[int, typer.Option("--lines", help="to begin with", min=0)] = 20,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="go on while the run does")
    ] = True,
) -> None:
    """What a run's process says; goes on until the run ends, or Ctrl-C (which leaves it alone)."""
    from jepakit.commands.logs import logs as run

    raise typer.Exit(run(folder, rank, lines, follow))


@app.command()
def stop(
    folder: Folder,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="until it is saved")] = True,
) -> None:
    """Save and end what runs in a folder; the command that started it continues it."""
    from jepakit.commands.stop import stop as run

    raise typer.Exit(run(folder, wait))


@app.command()
def doctor(
    config: Config = None, words: Words = None, data: Data = None, devices: Devices = None
) -> None:
    """Check device, memory, pictures and disk for a run, and estimate its time."""
    from jepakit.commands.doctor import doctor as run

    path, settings = _split(config, words)
    raise typer.Exit(run(path, settings, data, devices or []))


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(help="YAML file, ours or the reference's")],
    words: Words = None,
    gpus: Annotated[
        str, typer.Option("--gpus", metavar="NxNAME", help="e.g. 16xA100-80G, 8xH200, RTX4090")
    ] = "8xH100",
    share: Annotated[
        str | None,
        typer.Option(
            "--share", help="of the peak: 0.4, 40%, or a file with `jepa bench step`'s output"
        ),
    ] = None,
    pictures: Annotated[
        int | None, typer.Option("--pictures", help="in an epoch; otherwise counted", min=1)
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", help="of one GPU for one hour", min=0)
    ] = None,
    per_node: Annotated[int, typer.Option("--per-node", help="GPUs in one machine", min=1)] = 8,
    network: Annotated[
        float, typer.Option("--network", help="between machines, Gbit/s per GPU", min=0.001)
    ] = 200.0,
    failures: Annotated[
        bool, typer.Option("--failures", help="simulate failures and stragglers instead")
    ] = False,
    hours_between: Annotated[
        float,
        typer.Option("--hours-between", help="failures of one GPU, on average", min=0.001),
    ] = 50_000.0,
    seed: Annotated[int, typer.Option("--seed", help="of the simulation", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder for the simulation's table and figure")
    ] = None,
) -> None:
    """What a run needs on GPUs that are not here: memory, images/s, network, hours, cost."""
    from jepakit.commands.plan import plan as run
    from jepakit.commands.plan_failures import plan_failures

    common = (config, words or [], gpus, share, pictures, per_node, network)
    if failures:
        raise typer.Exit(plan_failures(*common, hours_between, seed, out))
    if out is not None:
        raise ValueError("--out is for the simulation: add --failures")
    raise typer.Exit(run(*common, price))


@app.command()
def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="run folders, checkpoints, hf:ORG/NAME, timm:MODEL; settings: num_test=1000",
            metavar="WHAT... [A.B=VALUE]...",
        ),
    ] = None,
    data: Data = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            help="knn,linear,linear_sweep,low_shot,low_shot_fine_tune,attentive,fine_tune,"
            "counting,distance",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file, e.g. configs/evaluation/paper.yaml")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="repeat what draws at random", min=1)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="where the results are written")] = None,
) -> None:
    """Score encoders by the paper's protocols beside a random encoder and raw pixels."""
    from jepakit.commands.evaluate import evaluate as run

    raise typer.Exit(run(words or [], data, tasks, config, seeds, out))


@app.command()
def export(
    what: Annotated[
        str,
        typer.Argument(
            help="a run folder, a checkpoint, hf:ORG/NAME, timm:MODEL, a .pth.tar or .safetensors",
            metavar="WHAT",
            show_default=False,
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


PICTURES = "a folder, .tar files, a table, hf:NAME, torchvision:NAME: as after --data"
Pictures = Annotated[str, typer.Argument(help=PICTURES, metavar="PICTURES", show_default=False)]
Channels = Annotated[int, typer.Option("--channels", help="1 grey, 3 RGB, others from arrays")]
Values = Annotated[
    str | None,
    typer.Option("--values", metavar="LOW,HIGH", help="arrays: these become 0 and 255"),
]
Split = Annotated[str | None, typer.Option("--split", help="one part of the dataset, e.g. val")]
NumWorkers = Annotated[
    int, typer.Option("--workers", help="processes beside this one", min=0, show_default="cores")
]


ModelName = Annotated[
    str,
    typer.Argument(help="a run folder, a checkpoint, timm:MODEL, …", metavar="MODEL"),
]
Branch = Annotated[str, typer.Option("--branch", help="of an I-JEPA: target or context")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16")]
SeenSize = Annotated[
    int | None, typer.Option("--size", help="of what is seen, in pixels; else the training's")
]
BatchSize = Annotated[int, typer.Option("--batch-size", help="pictures encoded at once", min=1)]
Loaders = Annotated[
    int | None, typer.Option("--workers", help="processes that load pictures; else one per core")
]


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
        ),
    ] = None,
    data: Data = None,
    decoder: Annotated[
        str | None,
        typer.Option("--decoder", help="a decoder's run, of the first model"),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="address to answer at; others than this machine's: see it")
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
    run: Annotated[Path, typer.Argument(help="a run folder, or one of its checkpoints")],
    words: Words = None,
    out: Annotated[Path | None, typer.Option("--out", help="the page; default: in the run")] = None,
    decoder: Annotated[
        str | None, typer.Option("--decoder", metavar="RUN", help="draws imagined contents too")
    ] = None,
    device: Device = "auto",
) -> None:
    """Everything about a run on one page: settings, curves and verdicts, scores, drawings."""
    from jepakit.commands.report import report as write

    raise typer.Exit(write(run, words or [], out, decoder, device))


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


@checkpoint_commands.command("merge")
def checkpoint_merge(
    source: Annotated[
        Path, typer.Argument(help="a run folder, or one of its checkpoints", metavar="RUN")
    ],
    out: Annotated[Path, typer.Argument(help="a new file", metavar="OUT.safetensors")],
    networks_only: Annotated[
        bool, typer.Option("--networks-only", help="leave out the optimizer")
    ] = False,
) -> None:
    """Write a checkpoint, also one that several processes wrote in parts, into a single file."""
    from jepakit.commands.checkpoint import merge as run

    raise typer.Exit(run(source, out, networks_only))


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="where everything is written")] = Path(
        "runs/demo"
    ),
    words: Words = None,
) -> None:
    """Pretrain on built-in scenes, evaluate, and write a page: the whole tour in minutes."""
    from jepakit.commands.demo import demo as run

    raise typer.Exit(run(folder, words or []))


@bench.command("step")
def bench_step(config: Config = None, words: Words = None, devices: Devices = None) -> None:
    """A training step: images/s, memory, share of the device's peak, and where time goes."""
    from jepakit.commands.bench_step import bench_step as run

    path, settings = _split(config, words)
    raise typer.Exit(run(path, settings, devices or []))


@bench.command("scaling")
def bench_scaling(
    config: Config = None,
    words: Words = None,
    devices: Devices = None,
    rounds: Annotated[int, typer.Option("--rounds", help="turns of each", min=1)] = 5,
    steps: Annotated[int, typer.Option("--steps", help="timed per turn", min=1)] = 10,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the speeds")] = None,
    measure: Annotated[Path | None, typer.Option("--measure", hidden=True)] = None,
) -> None:
    """One process and several, in turns: images/s and efficiency at the same global batch."""
    from jepakit.commands.bench_scaling import bench_scaling as run
    from jepakit.commands.bench_scaling import measure_here

    path, settings = _split(config, words)
    if measure is not None:  # in the processes that the command starts
        raise typer.Exit(measure_here(path, settings, steps, measure))
    raise typer.Exit(run(path, settings, devices or [], rounds, steps, out))


@bench.command("data")
def bench_data(
    source: Annotated[str, typer.Argument(help="what --data takes", metavar="PICTURES")],
    size: Annotated[int, typer.Option("--size", help="of the views, in pixels", min=8)] = 224,
    pictures: Annotated[
        int, typer.Option("--pictures", help="how many are chosen, at random", min=2)
    ] = 512,
    rounds: Annotated[int, typer.Option("--rounds", help="turns of each pipeline", min=1)] = 5,
    workers: Annotated[
        int | None, typer.Option("--workers", help="processes; default: one per core", min=1)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the speeds")] = None,
) -> None:
    """Loading pictures: images/s in every form, beside torchvision's usual pipeline."""
    from jepakit.commands.bench_data import bench_data as run

    raise typer.Exit(run(source, size, pictures, rounds, workers, out))


@bench.command("masks")
def bench_masks() -> None:
    """The mask samplers: time per image, and how often each row and column is seen."""
    from jepakit.commands.bench_masks import bench_masks as run

    run()


@bench.command("features")
def bench_features(
    source: Annotated[str, typer.Argument(help="what --data takes", metavar="PICTURES")],
    size: Annotated[str, typer.Option("--size", help="of the encoder")] = "vit_small",
    pictures: Annotated[int, typer.Option("--pictures", help="how many", min=2)] = 512,
    rounds: Annotated[int, typer.Option("--rounds", help="turns of each", min=1)] = 3,
) -> None:
    """Making features beside the encoder's forward pass alone."""
    from jepakit.commands.bench_features import bench_features as run

    raise typer.Exit(run(source, size, pictures, rounds))


@bench.command("evaluate")
def bench_evaluate() -> None:
    """The probes on cached features, beside scikit-learn once per setting."""
    from jepakit.commands.bench_evaluate import bench_evaluate as run

    raise typer.Exit(run())


@bench.command("anomaly")
def bench_anomaly(
    model: ModelName,
    words: Words = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the table")] = None,
    device: Device = "auto",
) -> None:
    """Whether energy finds anomalies planted in scenes: AUROC beside three controls."""
    from jepakit.commands.bench_anomaly import bench_anomaly as run

    raise typer.Exit(run(model, words or [], out, device))


@bench.command("imagine")
def bench_imagine(
    model: ModelName,
    decoder: Annotated[str, typer.Argument(help="the run of its decoder", metavar="DECODER")],
    words: Words = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="PICTURES", help="photographs instead of scenes")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the table")] = None,
    device: Device = "auto",
) -> None:
    """Whether a decoder draws what was hidden in scenes, beside three controls."""
    from jepakit.commands.bench_imagine import bench_imagine as run

    raise typer.Exit(run(model, decoder, words or [], data, out, device))


@bench.command("interchange")
def bench_interchange(
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the figures")] = None,
) -> None:
    """Weights of every form into every form, at every size: the largest difference of features."""
    from jepakit.commands.bench_interchange import bench_interchange as run

    raise typer.Exit(run(out))


def _split(config: str | None, words: list[str] | None) -> tuple[Path | None, list[str]]:
    """The first word may already be a setting: then there is no config file."""
    settings = list(words or [])
    if config is None or ("=" in config and not Path(config).exists()):
        return None, [*([config] if config else []), *settings]
    return Path(config), settings


def spread(arguments: list[str]) -> list[str]:
    """`--devices cpu cpu` -> `--devices cpu --devices cpu`: as people write it; so for --slurm."""
    spread_out: list[str] = []
    option, values = "", []  # the option just read, and the words that belong to it
    for word in [*arguments, ""]:
        if option and _SPREAD[option](word):
            values.append(word)
            continue
        if option:
            nothing = ["--slurm", ""] if option == "--slurm" else [option]  # it may stand alone
            spread_out += [part for value in values for part in (option, value)] or nothing
        option, values = (word, []) if word in _SPREAD else ("", [])
        if not option:
            spread_out.append(word)
    return spread_out[:-1]


def _may_be_device(word: str) -> bool:
    return not (not word or word.startswith("-") or "=" in word or word.endswith((".yaml", ".yml")))


def _may_be_setting(word: str) -> bool:
    return "=" in word and not word.startswith("-")


_SPREAD = {"--devices": _may_be_device, "--slurm": _may_be_setting}


class _Standard(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is standard error now: a progress bar takes its place while it is shown."""

    @property
    def stream(self) -> Any:
        """Where to write."""
        return sys.stderr

    @stream.setter
    def stream(self, stream: Any) -> None:
        """Chosen by the property above."""


def main(arguments: list[str] | None = None) -> None:
    """Text in, exit code out: an error of the user's is one sentence."""
    _speak_utf8()
    # Read when torch loads. Threads that wait by spinning starve a busy CPU, threads that sleep at
    # once wake up late: they spin for some microseconds, then sleep (docs/lab_notes.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    logging.basicConfig(format="%(message)s", level="WARNING", handlers=[_Standard()])
    logging.getLogger("jepakit").setLevel(os.environ.get("JEPAKIT_LOG", "INFO"))
    # Ctrl-C ends a command at once, except while it trains. Python's own way, an exception at any
    # place, is swallowed by some libraries and reported as a mistake of the user's by others.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)
    try:
        app(spread(sys.argv[1:] if arguments is None else arguments))
    except (ValueError, OSError) as error:
        _fail(error, 2)
    except RunFailed as error:
        _fail(error, 3)
    finally:
        signal.signal(signal.SIGINT, before)


def _speak_utf8() -> None:
    """Start again in Python's UTF-8 mode where names of files would be read in another encoding.

    Python does so by itself under `LC_ALL=C`, unless it was told not to.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _fail(error: Exception, code: int) -> NoReturn:
    if os.environ.get("JEPAKIT_TRACEBACK"):
        raise error
    typer.echo(f"jepa: {error}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
