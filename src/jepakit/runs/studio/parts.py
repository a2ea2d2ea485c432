"""The fixed parts of the studio's page: its heading, the picture's part, script and style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from jepakit.data.sources.picture_files import SUFFIXES
from jepakit.runs.studio.uploads import LARGEST_FILE, LARGEST_PICTURE
from jepakit.runs.studio.visit import Studio
from jepakit.visualization.page_style import DARK, LIGHT
from jepakit.visualization.sections import data_address
from jepakit.visualization.tiles import Tile, resize, tile_size

_THUMBNAIL = 112  # pixels


def header(names: Sequence[str]) -> str:
    """What this page is, and which models it shows."""
    models = ", ".join(f"<b>{escape(name)}</b>" for name in names)
    return (
        "<h1>jepakit studio</h1><p>Hide a box of a picture. The model predicts what belongs there "
        f"from what it still sees: {models}.</p>"
    )


def picker(studio: Studio) -> str:
    """The picture with its box, the numbers, the place for files and the examples."""
    limits = (
        f"Up to {LARGEST_FILE // 1024**2} MB and {LARGEST_PICTURE // 10**6} million pixels. It "
        "stays in this computer's memory until the page is closed, and is written nowhere."
    )
    examples = [
        f'<button type="button" data-example="{n}" aria-pressed="false">'
        f'<img src="{_thumbnail(tile)}" '
        f'alt="Example {n + 1}"></button>'
        for n, tile in enumerate(studio.examples)
    ]
    kinds = ",".join(sorted(SUFFIXES))
    return (
        _read("picker.html")
        .replace("@KINDS@", kinds)
        .replace("@LIMITS@", limits)
        .replace("@EXAMPLES@", "".join(examples))
    )


def _thumbnail(tile: Tile) -> str:
    size = tile_size((tile.shape[0], tile.shape[1]), tile=_THUMBNAIL)
    return data_address(resize(tile, size), quick=True)


def picker_script() -> str:
    """What makes the box follow pointer and keyboard, and tells the server."""
    return _read("picker.js").replace("@LARGEST_FILE@", str(LARGEST_FILE))


def style_sheet() -> str:
    """The look of the reports, in light and dark."""
    light, dark = (
        "".join(f"--{name}:{colour};" for name, colour in palette.items())
        for palette in (LIGHT, DARK)
    )
    return f":root{{{light}}}\n.dark{{{dark}}}\n{_read('studio.css')}"


def _read(name: str) -> str:
    return files("jepakit.runs.studio").joinpath(name).read_text(encoding="utf-8")
