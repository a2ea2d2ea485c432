"""The command `jepa` and its groups of verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from jepakit.version import __version__

if TYPE_CHECKING:
    from pydantic import BaseModel

_UsageError: Any = typer.BadParameter.__mro__[1]  # click's own, or typer's copy of it


class Verbs(TyperGroup):
    """Says what to write instead of `--epochs 3` (a setting), and of `--query a.jpg b.jpg`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that the words name."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            error.message += _setting_for(error) or _repeated_option(error)
            raise


def _setting_for(error: Any) -> str:
    if type(error).__name__ != "NoSuchOption":
        return ""
    verb = error.ctx.command
    if not any(parameter.name == "words" for parameter in verb.params):
        return ""
    from jepakit.runs.config import RunConfig
    from jepakit.runs.evaluation_settings import EvaluationSettings
    from jepakit.runs.mistakes import settings_called
    from jepakit.runs.seeing.settings import SeeingSettings

    drawing = dict.fromkeys(("visualize", "report", "studio"), SeeingSettings)
    models: dict[Any, type[BaseModel]] = {"evaluate": EvaluationSettings, **drawing}
    names = settings_called(models.get(verb.name, RunConfig), error.option_name)
    meant = " or ".join(f"{name}=VALUE" for name in names[:3])
    return f". A setting is written without dashes: {meant}" if names else ""


def _repeated_option(error: Any) -> str:
    """What to write where one option was followed by several values."""
    if "extra argument" not in error.message or error.ctx is None:
        return ""
    given = [
        option
        for option in error.ctx.command.params
        if getattr(option, "multiple", False) and error.ctx.params.get(option.name)
    ]
    return f". Write {given[0].opts[0]} before each of its values" if len(given) == 1 else ""


app = typer.Typer(
    name="jepa",
    cls=Verbs,
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
