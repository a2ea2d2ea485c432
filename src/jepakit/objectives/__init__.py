"""What is learned: one file per method."""

from typing import Annotated

from pydantic import Field

from jepakit.objectives.ijepa import IJepa
from jepakit.objectives.objective import Objective, StepOutput
from jepakit.objectives.pixel_decoder import PixelDecoder

OBJECTIVES = {"ijepa": IJepa, "pixel_decoder": PixelDecoder}

ObjectiveSettings = Annotated[IJepa.Settings | PixelDecoder.Settings, Field(discriminator="kind")]

__all__ = [
    "OBJECTIVES",
    "IJepa",
    "Objective",
    "ObjectiveSettings",
    "PixelDecoder",
    "StepOutput",
]
