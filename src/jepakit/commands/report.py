"""jepa report: everything about a run on one page, from what its folder holds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from jepakit.commands.evaluate import main_columns
from jepakit.core.devices import choose_device, choose_precision
from jepakit.evaluation.comparison import Comparison
from jepakit.runs.automatic import MEMORY
from jepakit.runs.config import RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.loaded import Loaded
from jepakit.runs.own_pictures import PicturesGone
from jepakit.runs.report import SHOWN, Judged, write_report
from jepakit.runs.seeing.decoder import check_same_model, open_decoder
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.pictures import pictures_to_show
from jepakit.runs.seeing.settings import SeeingSettings, What
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import apply_overrides, check

_NOT_DRAWN = "Nothing is drawn"  # on pages without drawings only


def report(
    run: Path,
    words: Sequence[str],
    data: str | None,
    out: Path | None,
    decoder: str | None,
    device: str,
) -> int:
    """Write the page, and say where it is. Without the run's pictures, nothing is drawn on it."""
    console = Console()
    loaded = opened(run, choose_device(device))
    trained = loaded.trained
    assert trained is not None
    found = evaluations(trained.folder)
    if not found:
        data_too = " --data PICTURES" if data else ""
        told = f"no scores yet: jepa evaluate {run}{data_too} makes them"
        console.print(told, style="dim", markup=False)
    looking, notes = None, []
    try:
        looking = looking_at(loaded, device, words, decoder, data)
    except PicturesGone as error:
        notes = [f"{_NOT_DRAWN}, because {error}."]
        console.print(*notes, markup=False, highlight=False, soft_wrap=True)
        if out is None and (kept := _keep_drawings(trained.folder)):
            told = f"the page with drawings is kept: {kept}"
            console.print(told, markup=False, highlight=False, soft_wrap=True)
    given = [*(["--data", data] if data else []), *(["--decoder", decoder] if decoder else [])]
    what: tuple[What, ...] = (*SHOWN, "imagine") if decoder else SHOWN
    command = _again(trained.config, run / "config.yaml", [*given, *words])
    tell = lambda line: console.print(line, style="dim")  # noqa: E731
    page = write_report(trained, looking, found, command, out, what, tell, notes)
    console.print(f"open {page.resolve()}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _keep_drawings(folder: RunFolder) -> Path | None:
    """Moves a page with drawings out of the way of one without."""
    page = folder.page
    if not page.exists() or _NOT_DRAWN in page.read_text(encoding="utf-8"):
        return None
    return page.replace(page.with_stem(f"{page.stem}-with-drawings"))


def _again(config: RunConfig, written: Path, words: Sequence[str]) -> str:
    """The lines that make the run and its page again."""
    path = str(getattr(config.data.source, "path", ""))
    lines = [
        shlex.join(["jepa", "pretrain", str(written), "folder=runs/again"]),
        shlex.join(["jepa", "evaluate", "runs/again"]),
        shlex.join(["jepa", "report", "runs/again", *words]),
    ]
    if path == MEMORY:
        return (
            "# in Python, where the pictures were: jepakit.pretrain(pictures, folder='runs/again', "
            "...) with the settings below; then, as they are in no file:\n"
            "jepa evaluate runs/again --data PICTURES\n"
            "jepa report runs/again --data PICTURES"
        )
    if path and "://" not in path and not Path(path).expanduser().exists():
        lines.insert(0, f"# where {path} is: the run may have begun in another directory")
    return "\n".join(lines)


def evaluations(folder: RunFolder) -> list[Judged]:
    """What `jepa evaluate` found of a run: on its own pictures, then on others."""
    places = [folder.scores, *sorted(folder.evaluations.glob(f"*/{folder.scores.name}"))]
    found = [(path.parent.name, Comparison.load(path)) for path in places if path.is_file()]
    return [
        Judged(comparison, main_columns(comparison), comparison.pictures or name)
        for name, comparison in found
    ]


def opened(run: Path, device: torch.device) -> Loaded:
    """A run's newest checkpoint, or the one named. Raises `ValueError` for other models."""
    loaded = load_weights(str(run), device)
    if loaded.trained is None:
        raise ValueError(f"{run} is no run folder: jepa visualize draws other models")
    return loaded


def looking_at(
    loaded: Loaded,
    device: str,
    words: Sequence[str] = (),
    decoder: str | None = None,
    data: str | None = None,
) -> Looking:
    """An opened run and its held-out pictures (its own, if there are none), or those of `data`.

    Raises `ValueError`, and `PicturesGone` if its pictures cannot be opened.
    """
    settings = check(SeeingSettings, apply_overrides({}, words))
    chosen = choose_device(device)
    assert loaded.trained is not None
    config = loaded.trained.config
    source = pictures_to_show(loaded, data)
    precision = choose_precision(chosen, config.precision)
    drawing = open_decoder(decoder, chosen, precision) if decoder else None
    if drawing is not None:
        check_same_model(drawing, loaded)
    origin = data or ("held out" if config.data.validation else "of the training")
    return Looking(loaded, source, loaded.size, settings, chosen, precision, drawing, origin=origin)
