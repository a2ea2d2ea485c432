"""`jepa bench …`: what speed and quality are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jepakit.cli.app import bench
from jepakit.cli.words import (
    Config,
    Device,
    Devices,
    ModelName,
    Words,
    config_and_settings,
)


@bench.command("step")
def bench_step(config: Config = None, words: Words = None, devices: Devices = None) -> None:
    """A training step: images/s, memory, share of the device's peak, and where time goes."""
    from jepakit.commands.bench_step import bench_step as run

    path, settings = config_and_settings(config, words)
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

    path, settings = config_and_settings(config, words)
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
