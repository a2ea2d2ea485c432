"""The sources of pictures, by the `kind` in their settings."""

from typing import Annotated, Any

from pydantic import Field

from jepakit.data.sources.image_folder import ImageFolder, find_splits
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.source import BrokenPicture, Sample, Source

__all__ = [
    "SOURCES",
    "BrokenPicture",
    "Sample",
    "Source",
    "SourceSettings",
    "build_source",
    "find_splits",
]

SOURCES: dict[str, Any] = {"folder": ImageFolder, "scenes": ProceduralScenes}
SourceSettings = Annotated[
    ImageFolder.Settings | ProceduralScenes.Settings, Field(discriminator="kind")
]


def build_source(settings: ImageFolder.Settings | ProceduralScenes.Settings) -> Source:
    """The source that the settings describe."""
    source: Source = SOURCES[settings.kind](settings)
    return source
