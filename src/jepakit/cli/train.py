"""Verbs that train, and that look after trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jepakit.cli.app import app, checkpoint_commands
from jepakit.cli.words import Config, Data, Devices, Folder, Values, Words, config_and_settings


@app.command()
def pretrain(
    config: Config = None,
    words: Words = None,
    data: Data = None,
    values: Values = None,
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
    path, settings = config_and_settings(config, words, values)
    if slurm is None:
        if dry_run:
            raise ValueError("--dry-run shows a batch script: add --slurm partition=NAME …")
        from jepakit.commands.pretrain import pretrain as run

        raise typer.Exit(run(path, settings, data, devices or [], show))
    if devices:
        raise ValueError("with --slurm leave --devices out: write device=cpu after --slurm")
    from jepakit.commands.submission import pretrain_on_slurm

    raise typer.Exit(pretrain_on_slurm(path, settings, data, slurm, dry_run))


@app.command()
def status(folder: Folder = Path("runs")) -> None:
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
    config: Config = None,
    words: Words = None,
    data: Data = None,
    values: Values = None,
    devices: Devices = None,
) -> None:
    """Check device, memory, pictures and disk for a run, and estimate its time."""
    from jepakit.commands.doctor import doctor as run

    path, settings = config_and_settings(config, words, values)
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
