"""One page about a search: each query beside the pictures that are nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from jepakit.data.shrinking import pixels_at_most
from jepakit.data.sources.source import Picture as SourcePicture
from jepakit.version import __version__
from jepakit.visualization import Code, Gallery, Picture, Section, write_page
from jepakit.visualization.tiles import to_colour

_SIDE = 160  # pixels of a picture's shorter side


@dataclass(frozen=True)
class Found:
    """A picture that is near to a query."""

    name: str
    label: str | None
    cosine: float
    picture: SourcePicture


@dataclass(frozen=True)
class Answer:
    """A query and what was found, the nearest first."""

    query: str
    picture: SourcePicture
    found: Sequence[Found]


def write_search(answers: Sequence[Answer], about: str, command: str, path: Path) -> None:
    """Write the page; everything is in the one file."""
    sections: list[Section] = []
    for answer in answers:
        shown = [_picture(answer.picture, answer.query, "the query")]
        shown += [_picture(one.picture, one.name, _caption(one)) for one in answer.found]
        sections.append(Gallery(tuple(shown), heading=answer.query, narrowest=_SIDE))
    sections.append(Code(command, heading="The command"))
    write_page(path, "Nearest pictures", sections, about, f"written by jepakit {__version__}")


def _caption(found: Found) -> str:
    named = found.name if found.label is None else f"{found.label}: {found.name}"
    return f"{found.cosine:.3f}  {named}"


def _picture(picture: SourcePicture, name: str, caption: str) -> Picture:
    pixels = np.array(pixels_at_most(picture, _SIDE))
    small = torch.from_numpy(pixels).permute(2, 0, 1)
    return Picture(to_colour(small[None])[0], name, caption=caption)
