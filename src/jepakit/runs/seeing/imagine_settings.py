"""How imagined contents are drawn: `jepa visualize … --what imagine imagine.guidance=1`."""

from __future__ import annotations

from pydantic import Field

from jepakit.core import settings as core
from jepakit.models.diffusion import Sampler


class ImagineSettings(core.Settings):
    """How contents of boxes are drawn, and which box is drawn on a page."""

    sampler: Sampler = Field(
        "fast", description="ancestral: the paper's; fast: DPM-Solver++; or ddim"
    )
    steps: int | None = Field(None, ge=1, description="null = 100, and 20 of the fast sampler")
    guidance: float = Field(
        3.0, ge=0, description="1 = as trained; above, samples keep closer to what they are told"
    )
    samples: int = Field(4, ge=1, le=16, description="seeds per box")
    block: int | None = Field(None, ge=1, description="patches a side; null = a third of the grid")
    corner: tuple[int, int] | None = Field(
        None, description="row and column of the box's first patch; null = the middle"
    )
    pictures: int = Field(200, ge=2, description="`jepa bench imagine`: scenes or photographs")
