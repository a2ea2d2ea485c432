"""What several verbs take: their arguments and options, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[  # text, not a path: without a file the first word is a setting
    str | None, typer.Argument(help="YAML file; without one, settings are chosen for you")
]
Words = Annotated[
    list[str] | None,
    typer.Argument(help="settings, e.g. optimization.epochs=50", metavar="[A.B=VALUE]..."),
]
SeeingWords = Annotated[
    list[str] | None,
    typer.Argument(help="of drawings, e.g. num_pictures=6", metavar="[A.B=VALUE]..."),
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
Folder = Annotated[
    Path, typer.Argument(help="a run folder, or the folder of its jobs' logs", metavar="FOLDER")
]
PICTURES = "a folder, .tar files, a table, hf:NAME, torchvision:NAME: as after --data"
Pictures = Annotated[str, typer.Argument(help=PICTURES, metavar="PICTURES", show_default=False)]
Channels = Annotated[int, typer.Option("--channels", help="1 grey, 3 RGB, others from arrays")]
Values = Annotated[
    str | None,
    typer.Option("--values", metavar="LOW,HIGH", help="over 8 bits: these become 0 and 255"),
]
Split = Annotated[str | None, typer.Option("--split", help="one part of the dataset, e.g. val")]
NumWorkers = Annotated[
    int, typer.Option("--workers", help="processes beside this one", min=0, show_default="cores")
]


def there(name: str) -> str:
    """A model's name; a path to nothing is refused before anything heavy is imported."""
    from jepakit.pretrained.names import refuse_what_is_not_there

    return refuse_what_is_not_there(name)


def all_there(words: list[str] | None) -> list[str] | None:
    """The same for names of models among settings."""
    from jepakit.pretrained.names import names_and_settings

    for name in names_and_settings(words or [])[0]:
        there(name)
    return words


ModelName = Annotated[
    str,
    typer.Argument(
        help="a run folder, a checkpoint, timm:MODEL, …", metavar="MODEL", callback=there
    ),
]
Branch = Annotated[str, typer.Option("--branch", help="of an I-JEPA: target or context")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16")]
SeenSize = Annotated[
    int | None, typer.Option("--size", help="of what is seen, in pixels; else the model's own")
]
BatchSize = Annotated[int, typer.Option("--batch-size", help="pictures encoded at once", min=1)]
Loaders = Annotated[
    int | None, typer.Option("--workers", help="processes that load pictures; else one per core")
]


def config_and_settings(
    config: str | None, words: list[str] | None, values: str | None = None
) -> tuple[Path | None, list[str]]:
    """The first word may already be a setting: then there is no config file.

    `values` are one more setting, typed as other commands take it. A file that cannot be read is
    refused here, before anything heavy is imported.
    """
    settings = list(words or [])
    if values is not None:
        settings.append(f"data.source.values=[{values.strip('[]() ')}]")
    if config is None or ("=" in config and not Path(config).exists()):
        return None, [*([config] if config else []), *settings]
    from jepakit.runs.yaml_file import read_yaml

    read_yaml(Path(config))
    return Path(config), settings
