"""A run's pictures, opened after it: by those who judge, draw or export what it learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jepakit.data.sources import Source
from jepakit.runs.automatic import MEMORY
from jepakit.runs.config import RunConfig
from jepakit.runs.keeping import open_source
from jepakit.runs.pictures import open_validation


class PicturesGone(ValueError):
    """The pictures that a run learned from cannot be opened here; the sentence says why."""


def own_pictures(config: RunConfig) -> Source:
    """What it learned from. Raises `PicturesGone`."""
    with _told_where_they_were(config):
        return open_source(config.data.source, config)


def shown_pictures(config: RunConfig) -> Source:
    """Its held-out pictures, or its own where there are none. Raises `PicturesGone`."""
    with _told_where_they_were(config):
        return open_source(config.data.validation or config.data.source, config)


def own_parts(config: RunConfig) -> dict[str, Source]:
    """Its pictures by part, "all" where none are held out. Raises `PicturesGone`."""
    source = own_pictures(config)
    held_out = open_validation(config, source)
    return {"train": source, "val": held_out} if held_out else {"all": source}


@contextmanager
def _told_where_they_were(config: RunConfig) -> Iterator[None]:
    path = str(getattr(config.data.source, "path", ""))
    if path == MEMORY:
        raise PicturesGone(
            "the run's pictures were in the memory of a program: name others with --data (data=)"
        )
    try:
        yield
    except ValueError as error:
        raise PicturesGone(
            f"the run's pictures cannot be opened: {error}{where_looked(config)}; or name others "
            "with --data"
        ) from error


def where_looked(config: RunConfig) -> str:
    """Words in brackets where the pictures were in a program, or their path leads nowhere here."""
    path = str(getattr(config.data.source, "path", ""))
    if path == MEMORY:
        return " (the run's pictures were in a program: continue there, with jepakit.pretrain)"
    if not path or "://" in path or Path(path).expanduser().is_absolute() or Path(path).exists():
        return ""
    return f" ({path} is looked for in {Path.cwd()}; the run may have begun elsewhere)"
