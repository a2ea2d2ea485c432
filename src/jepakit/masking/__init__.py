"""Mask samplers: which tokens of the grid are context and which are targets."""

from typing import Annotated

from pydantic import Field

from jepakit.masking.block import Block
from jepakit.masking.masking import Grid, Masking
from jepakit.masking.multiblock import MultiBlock
from jepakit.masking.random_patches import RandomPatches
from jepakit.masking.rasterized import Rasterized
from jepakit.masking.reference_multiblock import ReferenceMultiBlock

MASKINGS = {
    "multiblock": MultiBlock,
    "reference_multiblock": ReferenceMultiBlock,
    "block": Block,
    "random": RandomPatches,
    "rasterized": Rasterized,
}

MaskingSettings = Annotated[
    MultiBlock.Settings
    | ReferenceMultiBlock.Settings
    | Block.Settings
    | RandomPatches.Settings
    | Rasterized.Settings,
    Field(discriminator="kind"),
]


def build_masking(settings: MaskingSettings, grid: Grid) -> Masking:
    """The sampler that the settings' `kind` names; `ValueError` where the grid is too small."""
    return MASKINGS[settings.kind](settings, grid)


__all__ = ["MASKINGS", "Grid", "Masking", "MaskingSettings", "build_masking"]
