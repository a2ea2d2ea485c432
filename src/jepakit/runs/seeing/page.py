"""One page and the pictures as files, from whatever parts were asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from jepakit.core.files import write_text, written_whole
from jepakit.runs.seeing.anomaly import show_anomaly
from jepakit.runs.seeing.film import show_film
from jepakit.runs.seeing.imagined import show_imagine
from jepakit.runs.seeing.looking import Looking, NotDrawn, Shown
from jepakit.runs.seeing.maps import show_maps
from jepakit.runs.seeing.masks import show_masks
from jepakit.runs.seeing.retrieval import show_retrieval
from jepakit.runs.seeing.settings import What
from jepakit.runs.seeing.surprise import show_energy
from jepakit.version import __version__
from jepakit.visualization import Code, Film, Section, Text, write_page
from jepakit.visualization.sections import animated_png
from jepakit.visualization.tiles import Tile

log = logging.getLogger(__name__)

PARTS: dict[What, Callable[[Looking], Shown]] = {
    "masks": show_masks,
    "maps": show_maps,
    "energy": show_energy,
    "retrieval": show_retrieval,
    "film": show_film,
    "anomaly": show_anomaly,
    "imagine": show_imagine,
}
PAGE, NUMBERS = "index.html", "numbers.json"


def show(
    looking: Looking, what: Sequence[What], tell: Callable[[str], None] = log.info
) -> tuple[dict[What, Shown], list[str]]:
    """The parts that can be drawn, and a sentence for each that cannot.

    `ValueError` with these sentences if nothing can be drawn.
    """
    shown: dict[What, Shown] = {}
    missing = []
    for part in what:
        tell(f"drawing {part}")
        try:
            shown[part] = PARTS[part](looking)
        except NotDrawn as reason:
            missing.append(f"{part}: {reason}")
            if len(what) > 1:
                tell(f"not drawn: {missing[-1]}")
    if not shown:
        raise ValueError("; ".join(missing))
    return shown, missing


def write_shown(
    shown: Mapping[What, Shown], missing: Sequence[str], name: str, command: str, folder: Path
) -> Path:
    """Write page, PNG files and numbers into the folder, each of them whole."""
    sections: list[Section] = []
    if missing:
        sections.append(Text("Not drawn. " + ". ".join(missing) + ".", tone="warning"))
    for part in shown.values():
        sections += part.sections
    sections.append(Code(command, heading="The command"))
    numbers = {what: part.numbers for what, part in shown.items() if part.numbers}
    folder.mkdir(parents=True, exist_ok=True)
    for part in shown.values():
        for sheet, tile in part.sheets.items():
            _write_sheet(folder / f"{sheet}.png", tile)
    write_text(folder / NUMBERS, json.dumps(numbers, indent=2) + "\n")
    page = folder / PAGE
    write_page(
        page,
        f"What {name} has learned",
        sections,
        "Masks, maps of tokens, surprise, and what the model expects in what it cannot see.",
        f"written by jepakit {__version__}",
    )
    return page


def _write_sheet(path: Path, sheet: Tile | Film) -> None:
    with written_whole(path) as beside:
        if isinstance(sheet, Film):
            beside.write_bytes(animated_png(sheet.frames, sheet.seconds))
        else:
            Image.fromarray(sheet).save(beside, "png", optimize=True)
