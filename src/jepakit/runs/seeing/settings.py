"""Everything that decides what is drawn: `jepa visualize MODEL … [key=value]`."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from jepakit.core.settings import Settings
from jepakit.masking import MaskingSettings
from jepakit.runs.mistakes import meant
from jepakit.runs.seeing.energy import EnergySettings
from jepakit.runs.seeing.imagine_settings import ImagineSettings

What = Literal["masks", "maps", "energy", "retrieval", "film", "anomaly", "imagine"]
ALL: tuple[What, ...] = get_args(What)
USUAL: tuple[What, ...] = ("masks", "maps", "energy", "retrieval")


class MapSettings(Settings):
    """Which tokens are drawn, and how."""

    layers: tuple[int, ...] | None = Field(
        None, min_length=1, description="from 0, or back from -1; null = the middle and the last"
    )
    finer: int | None = Field(
        None, ge=1, description="times as many rows and columns; null = 2 on grids below 12"
    )
    without: tuple[Literal["place", "picture"], ...] = Field(
        ("place", "picture"),
        description="mean tokens taken away first: of each place, then of each picture",
    )
    patch: tuple[int, int] | None = Field(
        None, description="row and column that is compared; null = the one that stands out most"
    )
    segments: int = Field(6, ge=2, le=32, description="groups of tokens, over all pictures")
    attention_layers: int = Field(2, ge=1, description="the last ones")


class RetrievalSettings(Settings):
    """What is hidden, and among what the model's expectation is looked for."""

    block: int | None = Field(None, ge=1, description="patches a side; null = a third of the grid")
    corner: tuple[int, int] | None = Field(
        None, description="row and column of the block's first patch; null = the middle"
    )
    gallery: int = Field(256, ge=2, description="pictures whose blocks are the gallery, at most")
    judged: int = Field(
        64, ge=0, description="pictures beside the drawn ones on which expectations are judged"
    )
    neighbours: int = Field(4, ge=1, le=12, description="nearest blocks that are drawn")


class FilmSettings(Settings):
    """How a training becomes an animation."""

    frames: int = Field(24, ge=2, description="checkpoints, at most, evenly over the run")
    pictures: int = Field(3, ge=2, description="pictures in each frame")
    seconds: float = Field(0.6, gt=0, description="per frame")


class AnomalySettings(Settings):
    """How many scenes have something wrong in them."""

    pictures: int = Field(200, ge=2, description="scenes per kind of anomaly")
    normalise: Literal["none", "place"] = Field(
        "none", description="place = take away what is usual at each place (energy.usual scenes)"
    )
    first: int = Field(1_000_000, ge=0, description="number of the first scene")


class SeeingSettings(Settings):
    """What is drawn of which pictures."""

    num_pictures: int = Field(6, ge=2, le=64, description="pictures that are drawn")
    seed: int = Field(0, ge=0, description="of masks, segments and the choice of pictures")
    masking: MaskingSettings | None = Field(None, description="null = the run's own")
    maps: MapSettings = MapSettings()
    energy: EnergySettings = EnergySettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    film: FilmSettings = FilmSettings()
    anomaly: AnomalySettings = AnomalySettings()
    imagine: ImagineSettings = ImagineSettings()


def parse_what(text: str | None) -> tuple[What, ...]:
    """`masks,maps` as words, each once. `ValueError` for an unknown one, with a suggestion."""
    if text is None:
        return USUAL
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in ALL:
            raise ValueError(f"--what {word} is unknown: {meant(word, ALL)}")
    if not words:
        raise ValueError(f"--what names nothing: choose from {','.join(ALL)}")
    return tuple(what for what in ALL if what in words)
