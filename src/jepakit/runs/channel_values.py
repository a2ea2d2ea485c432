"""What the channels of a source hold, as stored and as 8 bits: for its settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from jepakit.core.randomness import generator
from jepakit.data.sources import BrokenPicture, Source, build_source
from jepakit.data.sources.arrays import ArraySource
from jepakit.data.sources.picture_files import Decoding, read_values
from jepakit.data.sources.stored import StoredSource

PERCENTILES = (1, 99)
_PIXELS_PER_PICTURE = 4096
_ANY_RANGE = (0.0, 1.0)
_NUM_LOOKED_AT = 16  # pictures
_ALL_OF_16_BITS, _LARGE_PART = 65535, 0.5


@dataclass(frozen=True)
class ChannelValues:
    """The values of arrays as they are stored, per channel; what is not finite is left out."""

    type: str  # "uint16", "float32", …
    lowest: Float[np.ndarray, " C"]
    highest: Float[np.ndarray, " C"]
    percentiles: Float[np.ndarray, "2 C"]  # 1 % and 99 % of the pixels
    num_pictures: int
    share_not_finite: float

    def suggested(self) -> tuple[float, float] | None:
        """A range for `data.source.values` that all channels share; None for bytes.

        99 of 100 values of every channel lie in it; it is rounded outwards to two digits.
        """
        if self.type == "uint8":
            return None
        low, high = (float(self.percentiles[0].min()), float(self.percentiles[1].max()))
        step = 10.0 ** (math.floor(math.log10(high - low)) - 1) if high > low else 1.0
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        return float(f"{low:.6g}"), float(f"{max(high, low + step):.6g}")


def look_at_values(settings: Any, num_pictures: int) -> ChannelValues | None:
    """Of a random choice of the pictures; None where these are no arrays but usual pictures.

    Raises `ValueError` if there are arrays and none can be read.
    """
    if "values" not in type(settings).model_fields:
        return None
    return look_at_stored(
        build_source(settings.model_copy(update={"values": settings.values or _ANY_RANGE})),
        num_pictures,
    )


def narrow_values(source: Source) -> str:
    """Words about pictures that lie in a small part of their 16 bits, all of which would be seen.

    Empty where that is not so, or a range is said already.
    """
    settings = getattr(source, "settings", None)
    if not isinstance(settings, Decoding) or settings.values is not None or not len(source):
        return ""
    try:
        looked = look_at_stored(source, _NUM_LOOKED_AT)
    except ValueError:  # none can be read, which whoever needs them will tell
        return ""
    found = looked.suggested() if looked else None
    if looked is None or found is None or found[1] - found[0] > _LARGE_PART * _ALL_OF_16_BITS:
        return ""
    low, high = found
    return (
        f"mind: 99 of 100 {looked.type} values lie within {low:g} and {high:g}, but 0 is taken as "
        f"black and {_ALL_OF_16_BITS} as white, for the model was trained with no other range: "
        f"give --values {low:g},{high:g} to use theirs"
    )


def look_at_stored(source: Source, num_pictures: int) -> ChannelValues | None:
    """`look_at_values` of a source that is open."""
    num, read = min(num_pictures, len(source)), _reader(source)
    chosen = generator(0, "statistics").choice(len(source), num, replace=False)
    looks: list[_Look] = []
    broken: list[BrokenPicture] = []
    for index in chosen.tolist():
        try:
            values = read(index)
        except BrokenPicture as error:
            broken.append(error)
            continue
        if values is None:
            return None
        looks.append(_look(values))
    if not looks:
        raise ValueError(
            f"none of {num} pictures can be read, e.g. {broken[0]}; say how many channels they "
            "have with --channels"
        )
    return _summarise(looks)


@dataclass(frozen=True)
class _Look:
    """One array: its range, and some of its pixels."""

    type: str
    lowest: Float[np.ndarray, " C"]
    highest: Float[np.ndarray, " C"]
    pixels: Float[np.ndarray, "P C"]


def _reader(source: Source) -> Callable[[int], np.ndarray | None]:
    """Gives a picture's values as they are stored, H W C; None for what is no array."""
    if isinstance(source, ArraySource):
        return source.stored_values
    if isinstance(source, StoredSource):
        return partial(_read_stored, source)
    return lambda index: None


def _read_stored(source: StoredSource, index: int) -> np.ndarray | None:
    stored = source.stored(index)
    return read_values(stored, source.name(index), source.settings) if stored else None


def _look(values: np.ndarray) -> _Look:
    flat = values.reshape(-1, values.shape[2]).astype(np.float64)
    step = max(1, len(flat) // _PIXELS_PER_PICTURE)
    finite = np.isfinite(flat)
    lowest = np.min(flat, axis=0, where=finite, initial=np.inf)
    highest = np.max(flat, axis=0, where=finite, initial=-np.inf)
    return _Look(str(values.dtype), lowest, highest, flat[::step])


def _summarise(looks: list[_Look]) -> ChannelValues:
    pixels = np.concatenate([look.pixels for look in looks])
    finite = np.isfinite(pixels)
    return ChannelValues(
        type=looks[0].type,
        lowest=np.min([look.lowest for look in looks], axis=0),
        highest=np.max([look.highest for look in looks], axis=0),
        percentiles=np.nanpercentile(np.where(finite, pixels, np.nan), PERCENTILES, axis=0),
        num_pictures=len(looks),
        share_not_finite=float(1 - finite.mean()),
    )
