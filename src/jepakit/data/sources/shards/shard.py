"""One tar file of a set of pictures, and the patterns that name many of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jepakit.data.sources.pack_description import PackedShard

_PIPE = "pipe:"
_URL = re.compile(r"https?://", re.IGNORECASE)
_BRACES = re.compile(r"\{([0-9]+)\.\.([0-9]+)\}|\{([^{}]*,[^{}]*)\}")


@dataclass(frozen=True)
class Shard:
    """One tar file: a path, a URL, or `pipe:` and a command that writes it."""

    place: str
    packed: PackedShard | None = None  # what is known of it beforehand

    @property
    def is_remote(self) -> bool:
        """Whether it has to be fetched."""
        return is_remote(self.place)

    @property
    def file(self) -> Path:
        """Where a shard lies that is not remote."""
        return Path(self.place)

    @property
    def index_beside(self) -> str:
        """Where the index of a packed shard is."""
        return re.sub(r"\.tar$", "", self.place) + ".npz"

    @property
    def shown(self) -> str:
        """For messages: what follows "?" in a URL may be a password."""
        return self.place.partition("?")[0] if _URL.match(self.place) else self.place

    @property
    def stem(self) -> str:
        """A short name: of "data/train-03.tar", "train-03"."""
        return re.sub(r"\.tar$", "", self.shown.rpartition("/")[2])


def is_pipe(place: str) -> bool:
    """Whether it is a command that writes a tar."""
    return place.startswith(_PIPE)


def is_remote(place: str) -> bool:
    """Whether it is a URL or a command, not a path."""
    return place.startswith(_PIPE) or bool(_URL.match(place))


def expand_braces(pattern: str) -> list[str]:
    """`x-{08..10}.{a,b}` -> x-08.a, x-08.b, x-09.a, … as shells and WebDataset do."""
    texts = _BRACES.split(pattern)[::4]
    choices = [_choices(*match.groups()) for match in _BRACES.finditer(pattern)]
    return [
        "".join(itertools.chain(*zip(texts, chosen, strict=False), texts[len(chosen) :]))
        for chosen in itertools.product(*choices)
    ]


def _choices(first: str | None, last: str | None, listed: str | None) -> Sequence[str]:
    if first is None or last is None:
        return (listed or "").split(",")
    width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
    return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
