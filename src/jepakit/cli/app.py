"""The command `jepa` and its groups of verbs."""

from __future__ import annotations

from typing import Annotated

import typer

from jepakit.version import __version__

app = typer.Typer(
    name="jepa",
    help="Train, test and look into joint-embedding predictive models on your own pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench = typer.Typer(
    help="Measure speed, and how good drawings and exports are.", no_args_is_help=True
)
app.add_typer(bench, name="bench")
data_commands = typer.Typer(help="Look at pictures before training on them.", no_args_is_help=True)
app.add_typer(data_commands, name="data")
checkpoint_commands = typer.Typer(help="Checkpoints of a run.", no_args_is_help=True)
app.add_typer(checkpoint_commands, name="checkpoint")


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Joint-embedding predictive models on your own pictures."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
