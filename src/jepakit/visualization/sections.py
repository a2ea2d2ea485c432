"""The parts a page is made of: text, pictures, tables, facts and code, each a small dataclass."""

from __future__ import annotations

import base64
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_DRAWING_WIDTH = 640  # pixels a drawing that stands alone may take


class Section(ABC):
    """A part of the page. One with a heading begins a chapter; the others continue it."""

    heading: str

    @abstractmethod
    def html(self) -> str:
        """The part as HTML, without its heading; every given word escaped."""


@dataclass(frozen=True)
class Text(Section):
    """Paragraphs, parted by empty lines; as a verdict in words if the tone is not plain."""

    body: str
    heading: str = ""
    tone: Literal["plain", "good", "warning"] = "plain"

    def html(self) -> str:
        paragraphs = [escape(" ".join(part.split())) for part in self.body.split("\n\n")]
        if self.tone == "plain":
            return "".join(f"<p>{part}</p>\n" for part in paragraphs)
        word = {"good": "Good.", "warning": "Warning."}[self.tone]
        paragraphs[0] = f'<span class="tone">{word}</span>{paragraphs[0]}'
        return (
            f'<div class="{self.tone}">{"".join(f"<p>{part}</p>" for part in paragraphs)}</div>\n'
        )


@dataclass(frozen=True)
class Picture(Section):
    """A picture (uint8 array) or drawing (inline SVG, which must be our own: it is not escaped).

    `alt` says in words what it shows. `columns` names parts of equal width, from left to right.
    One that is `wide` is scrolled on a narrow page, not shrunk.
    """

    image: UInt8[np.ndarray, "H W 3"] | str
    alt: str
    caption: str = ""
    heading: str = ""
    columns: tuple[str, ...] = ()
    quick: bool = False  # encoded in a moment, for a page that somebody waits for
    wide: bool = False

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise ValueError("a picture needs an alt text: say in words what it shows")
        if isinstance(self.image, str) and not self.image.startswith("<svg"):
            raise ValueError("a drawing must be inline SVG that begins with <svg")

    def html(self) -> str:
        return self.figure("single card")

    def figure(self, kind: str) -> str:
        """The picture as a figure of these CSS classes, with its columns and caption."""
        names = "".join(f"<span>{escape(name)}</span>" for name in self.columns)
        columns = f'<div class="columns" aria-hidden="true">{names}</div>' if names else ""
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        if isinstance(self.image, str):
            natural = _DRAWING_WIDTH
            label = escape(self.alt)
            focus = ' tabindex="0"' if kind.startswith("single") else ""  # it may need scrolling
            shown = (
                f'<div class="drawing" role="img"{focus} aria-label="{label}">{self.image}</div>'
            )
        else:
            height, natural = self.image.shape[:2]
            shown = (
                f'<img src="{data_address(self.image, self.quick)}" alt="{escape(self.alt)}" '
                f'width="{natural}" height="{height}">'
            )
        if self.wide:
            region = f'class="wide" role="region" tabindex="0" aria-label="{escape(self.alt)}"'
            columns, shown = "", f"<div {region}><div>{columns}{shown}</div></div>"
        style = f'style="--natural:{natural}px"'
        return f'<figure class="{kind}" {style}>{columns}{shown}{caption}</figure>\n'


@dataclass(frozen=True)
class Gallery(Section):
    """Pictures side by side, as many per row as fit at `narrowest` pixels each."""

    pictures: tuple[Picture, ...]
    caption: str = ""
    heading: str = ""
    narrowest: int = 320

    def html(self) -> str:
        figures = "".join(picture.figure("card") for picture in self.pictures)
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        style = f'style="--narrowest:{self.narrowest}px"'
        return f'<figure><div class="gallery" {style}>\n{figures}</div>{caption}</figure>\n'


@dataclass(frozen=True)
class Film(Section):
    """Pictures of one size, one after the other; where motion is unwanted, the last one alone."""

    frames: tuple[UInt8[np.ndarray, "H W 3"], ...]
    alt: str
    seconds: float = 0.6
    caption: str = ""
    heading: str = ""

    def html(self) -> str:
        height, width = self.frames[0].shape[:2]
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        moving = base64.b64encode(animated_png(self.frames, self.seconds)).decode()
        return (
            f'<figure class="single card" style="--natural:{width}px"><picture>'
            f'<source srcset="{data_address(self.frames[-1])}" '
            'media="(prefers-reduced-motion: reduce)">'
            f'<img src="data:image/png;base64,{moving}" alt="{escape(self.alt)}" '
            f'width="{width}" height="{height}"></picture>{caption}</figure>\n'
        )


def animated_png(frames: Sequence[UInt8[np.ndarray, "H W 3"]], seconds: float) -> bytes:
    """The frames as an animated PNG that begins again after a longer look at the last frame."""
    images = [Image.fromarray(frame) for frame in frames]
    durations = [round(1000 * seconds)] * (len(images) - 1) + [round(3000 * seconds)]
    file = io.BytesIO()
    images[0].save(file, "png", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return file.getvalue()


Cell = str | float | int | None


@dataclass(frozen=True)
class Table(Section):
    """Rows under a header; the first column names the row, the best number of each is marked.

    Numbers are written with `decimals` digits; None and NaN are empty. `shaded`: the larger a
    number's share of its row, the darker its cell.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    heading: str = ""
    best: Literal["highest", "lowest", "none"] = "none"
    decimals: int = 1
    shaded: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"the row {row} needs {len(self.header)} cells, as the header has")

    def html(self) -> str:
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.header)
        best = [self._best([row[place] for row in self.rows]) for place in range(len(self.header))]
        body = "".join(f"<tr>{self._row(row, best)}</tr>\n" for row in self.rows)
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        label = escape(self.heading or self.caption or "Table")
        return (
            f'<figure class="tabular card"><div class="scroll" role="region" tabindex="0" '
            f'aria-label="{label}">\n<table><thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}</tbody></table></div>{caption}</figure>\n"
        )

    def _best(self, column: Sequence[Cell]) -> str | None:
        """The best number of a column as it is written, so that equal looks are equally good."""
        numbers = [cell for cell in column if isinstance(cell, int | float) and isfinite(cell)]
        if self.best == "none" or len(numbers) < 2:
            return None
        return self._written(max(numbers) if self.best == "highest" else min(numbers))

    def _row(self, row: Sequence[Cell], best: Sequence[str | None]) -> str:
        cells = [f'<th scope="row">{self._written(row[0])}</th>']
        total = sum(cell for cell in row[1:] if isinstance(cell, int | float)) or 1
        for cell, goal in zip(row[1:], best[1:], strict=True):
            written = self._written(cell)
            if not isinstance(cell, str) and written == goal:
                written = f'<span>{written}<b class="unseen"> (best)</b></span>'
                cells.append(f'<td class="best">{written}</td>')
            elif self.shaded and isinstance(cell, int | float):
                cells.append(
                    f'<td class="shaded" style="--share:{cell / total:.3f}">{written}</td>'
                )
            else:
                cells.append(f"<td>{written}</td>")
        return "".join(cells)

    def _written(self, cell: Cell) -> str:
        if isinstance(cell, str):
            return escape(cell)
        if cell is None or not isfinite(cell):
            return "–"
        return str(cell) if isinstance(cell, int) else f"{cell:.{self.decimals}f}"


@dataclass(frozen=True)
class Facts(Section):
    """Names and values at a glance."""

    facts: tuple[tuple[str, str], ...]
    heading: str = ""

    def html(self) -> str:
        pairs = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>\n"
            for name, value in self.facts
        )
        return f'<dl class="facts card">\n{pairs}</dl>\n'


@dataclass(frozen=True)
class Code(Section):
    """Commands or settings, kept as typed."""

    code: str
    heading: str = ""

    def html(self) -> str:
        return f'<pre class="card" tabindex="0"><code>{escape(self.code)}</code></pre>\n'


def data_address(image: UInt8[np.ndarray, "H W 3"], quick: bool = False) -> str:
    """The picture as a data: address: PNG or fine JPEG (no colour subsampling), the smaller one.

    `quick`: JPEG without a look at PNG, which takes a hundred times as long.
    """
    kinds: dict[str, dict[str, Any]] = {"jpeg": {"quality": 92, "subsampling": 0}}
    if not quick:
        kinds["png"] = {"optimize": True}
    encoded = {}
    for kind, options in kinds.items():
        file = io.BytesIO()
        Image.fromarray(image).save(file, kind, **options)
        encoded[kind] = file.getvalue()
    kind = min(encoded, key=lambda name: len(encoded[name]))
    return f"data:image/{kind};base64,{base64.b64encode(encoded[kind]).decode()}"
