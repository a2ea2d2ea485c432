"""From names of models to a studio: all of them look at the same pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jepakit.runs.seeing.looking import Looking
from jepakit.runs.studio.imagining import Imagine
from jepakit.runs.studio.sight import Looker
from jepakit.runs.studio.visit import Studio


def studio_of(looking: Sequence[Looking], imagine: Imagine | None = None) -> Studio:
    """A studio of these models, and of a decoder of the first one's predictions.

    `ValueError` if they cannot look at the same pictures.
    """
    first = looking[0]
    for other in looking[1:]:
        _check_alike(first, other)
    names = _short_names([one.loaded.name for one in looking])
    return Studio(tuple(Looker(*pair) for pair in zip(names, looking, strict=True)), imagine)


def _check_alike(first: Looking, other: Looking) -> None:
    channels = [one.loaded.encoder.num_channels for one in (first, other)]
    names = f"{first.loaded.name} and {other.loaded.name}"
    if channels[0] != channels[1]:
        raise ValueError(
            f"{names} take pictures of {channels[0]} and {channels[1]} channels: open them one by "
            "one"
        )
    if first.size[0] * other.size[1] != first.size[1] * other.size[0]:
        sizes = " and ".join(f"{height} x {width}" for height, width in (first.size, other.size))
        raise ValueError(
            f"{names} see pictures of other shapes ({sizes} pixels): open them one by one"
        )


def _short_names(names: Sequence[str]) -> list[str]:
    """As few of the last parts of each path as tell them apart; of a checkpoint also its run."""
    paths = [[part for part in Path(name).parts if part != "checkpoints"] for name in names]
    split = [[_spoken(part) for part in parts] for parts in paths]
    for more in range(max(map(len, split))):
        lengths = [more + (2 if parts[-1].startswith("step ") else 1) for parts in split]
        short = ["/".join(p[-length:]) for p, length in zip(split, lengths, strict=True)]
        if len(set(short)) == len(names):
            return short
    raise ValueError(f"{', '.join(names)}: name every model once")


def _spoken(part: str) -> str:
    """`step-00000140` -> `step 140`."""
    return re.sub(r"^step-0*(?=\d)", "step ", part)
