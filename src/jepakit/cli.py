"""`jepa <verb>`: the only argument parsing of the package. Torch is imported by the verbs."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

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

Config = Annotated[
    Path | None, typer.Argument(help="YAML file; without one, settings are chosen for you")
]
Words = Annotated[
    list[str] | None,
    typer.Argument(help="settings, e.g. optimization.epochs=50", metavar="[A.B=VALUE]..."),
]
Data = Annotated[Path | None, typer.Option("--data", help="folder of pictures")]
Devices = Annotated[
    list[str] | None,
    typer.Option("--devices", help="one process per device: cpu, cuda:0, 1, mps; repeatable"),
]


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
) -> None:
    """Train an encoder; the same command continues an unfinished run."""
    from jepakit.commands.pretrain import pretrain as run

    path, settings = _split(config, words)
    raise typer.Exit(run(path, settings, data, devices or [], show))


@app.command()
def doctor(
    config: Config = None, words: Words = None, data: Data = None, devices: Devices = None
) -> None:
    """Check device, memory, pictures and disk for a run, and estimate its time."""
    from jepakit.commands.doctor import doctor as run

    path, settings = _split(config, words)
    raise typer.Exit(run(path, settings, data, devices or []))


@app.command()
def evaluate(
    run_folder: Annotated[Path, typer.Argument(help="run folder of a training", metavar="RUN")],
    words: Words = None,
    data: Data = None,
) -> None:
    """Score a trained encoder by k-NN and linear probe beside a random encoder and raw pixels."""
    from jepakit.commands.evaluate import evaluate as run

    raise typer.Exit(run(run_folder, words or [], data))


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


@bench.command("masks")
def bench_masks() -> None:
    """The mask samplers: time per image, and how often each row and column is seen."""
    from jepakit.commands.bench_masks import bench_masks as run

    run()


def _split(config: Path | None, words: list[str] | None) -> tuple[Path | None, list[str]]:
    """The first word may already be a setting: then there is no config file."""
    settings = list(words or [])
    if config is not None and "=" in str(config) and not config.exists():
        return None, [str(config), *settings]
    return config, settings


def spread(arguments: list[str]) -> list[str]:
    """`--devices cpu cpu` -> `--devices cpu --devices cpu`: as people write it."""
    spread_out: list[str] = []
    within = False
    for word in arguments:
        if word == "--devices":
            within = True
        elif (
            within
            and not word.startswith("-")
            and "=" not in word
            and not word.endswith((".yaml", ".yml"))
        ):
            spread_out += ["--devices", word]
        else:
            within = False
            spread_out.append(word)
    return spread_out


def main(arguments: list[str] | None = None) -> None:
    """Text in, exit code out: an error of the user's is one sentence."""
    # Threads that wait by spinning starve everything else on a busy CPU; read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(level=os.environ.get("JEPAKIT_LOG", "INFO"), format="%(message)s")
    logging.getLogger().setLevel("WARNING")
    logging.getLogger("jepakit").setLevel(os.environ.get("JEPAKIT_LOG", "INFO"))
    try:
        app(spread(sys.argv[1:] if arguments is None else arguments))
    except (ValueError, OSError) as error:
        if os.environ.get("JEPAKIT_TRACEBACK"):
            raise
        typer.echo(f"jepa: {error}", err=True)
        sys.exit(2)
    except RunFailed as error:
        typer.echo(f"jepa: {error}", err=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
