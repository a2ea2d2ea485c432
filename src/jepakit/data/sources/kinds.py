"""The kinds of sources that stand for themselves: all but mixtures, which are made of these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from jepakit.data.sources.arrays import ArraySource
from jepakit.data.sources.clevr import Clevr
from jepakit.data.sources.huggingface import HuggingFace
from jepakit.data.sources.image_folder import ImageFolder
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.source import Source
from jepakit.data.sources.table import Table
from jepakit.data.sources.tar_shards import TarShards
from jepakit.data.sources.torchvision_datasets import TorchvisionDataset

KINDS: dict[str, Any] = {
    "folder": ImageFolder,
    "scenes": ProceduralScenes,
    "clevr": Clevr,
    "table": Table,
    "shards": TarShards,
    "arrays": ArraySource,
    "huggingface": HuggingFace,
    "torchvision": TorchvisionDataset,
}
UnmixedSettings = (
    ImageFolder.Settings
    | ProceduralScenes.Settings
    | Clevr.Settings
    | Table.Settings
    | TarShards.Settings
    | ArraySource.Settings
    | HuggingFace.Settings
    | TorchvisionDataset.Settings
)
Unmixed = Annotated[UnmixedSettings, Field(discriminator="kind")]


def build_unmixed(settings: UnmixedSettings) -> Source:
    """The source that the settings describe."""
    source: Source = KINDS[settings.kind](settings)
    return source
