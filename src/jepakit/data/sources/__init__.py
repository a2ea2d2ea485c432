"""The sources of pictures, by the `kind` in their settings."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from jepakit.data.sources.guess import guess_parts, guess_source, short_name
from jepakit.data.sources.image_folder import find_splits
from jepakit.data.sources.kinds import KINDS, UnmixedSettings
from jepakit.data.sources.mixed import Mixed
from jepakit.data.sources.source import BrokenPicture, Sample, Source

__all__ = [
    "SOURCES",
    "BrokenPicture",
    "Sample",
    "Source",
    "SourceSettings",
    "build_source",
    "find_splits",
    "guess_parts",
    "guess_source",
    "open_parts",
    "short_name",
]

SOURCES: dict[str, Any] = {**KINDS, "mixed": Mixed}
AnySettings = UnmixedSettings | Mixed.Settings
SourceSettings = Annotated[AnySettings, Field(discriminator="kind")]


def build_source(settings: AnySettings) -> Source:
    """The source that the settings describe."""
    source: Source = SOURCES[settings.kind](settings)
    return source


def open_parts(text: str | Path, channels: int = 3) -> dict[str, Source]:
    """The labelled parts of a dataset of any layout by name, or "all" where it has no parts."""
    return {name: build_source(part) for name, part in guess_parts(text, channels).items()}
