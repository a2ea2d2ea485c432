"""What the channels of a source hold, as stored and as 8 bits: for its settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from jepakit.data.sources import BrokenPicture, Source, build_source
from jepakit.data.sources.decoding import decoding_of
from jepakit.data.sources.picture_files import read_values

PERCENTILES = (1, 99)
_PIXELS_PER_PICTURE = 4096
_ANY_RANGE = (0.0, 1.0)
_NUM_TO_KNOW_THEIR_TYPE = 8  # pictures
NUM_LOOKED_AT = 64  # pictures, where a range is chosen
_ALL_OF_16_BITS = (0.0, 65535.0)
# How much of black to white pictures use at least, where nobody chose it, where somebody did; and
# how much of their values must lie there.
_LEAST_OF_16_BITS, _LEAST_OF_A_CHOICE, _LEAST_OF_A_PICTURE = 0.5, 0.05, 0.5


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
    """Of those in a random choice that have more than 8 bits, if any; None for usual pictures.

    Raises `ValueError` if there are arrays and none can be read.
    """
    if "values" not in type(settings).model_fields:
        return None
    return look_at_stored(
        build_source(settings.model_copy(update={"values": settings.values or _ANY_RANGE})),
        num_pictures,
    )


def doubt_about_values(source: Source) -> str:
    """Words about pictures that what becomes black and white does not suit; empty where it does.

    Without a range all of 16 bits are seen, of which many cameras fill a small part.
    """
    how = decoding_of(source)
    if how is None or not len(source):
        return ""
    try:
        looked = look_at_stored(source, NUM_LOOKED_AT)
    except ValueError:  # none can be read, which whoever needs them will tell
        return ""
    found = looked.suggested() if looked else None
    if looked is None or found is None:
        return _of_bytes(how.values)
    seen = how.values or _ALL_OF_16_BITS
    (black, white), (low, high) = seen, found
    both = max(0.0, min(white, high) - max(black, low))
    least = _LEAST_OF_A_CHOICE if how.values else _LEAST_OF_16_BITS
    if both >= least * (white - black) and both >= _LEAST_OF_A_PICTURE * (high - low):
        return ""
    return (
        f"mind: 99 of 100 {looked.type} values of these pictures lie within {low:g} and {high:g}, "
        f"and {black:g} is taken as black, {white:g} as white: to use theirs, say --values "
        f"{low:g},{high:g} (in Python values=({low:g}, {high:g}))"
    )


def _of_bytes(values: tuple[float, float] | None) -> str:
    if values is None:
        return ""
    return (
        "mind: none of these pictures has more than 8 bits, so that they stay as they are: "
        f"{values[0]:g} (black) and {values[1]:g} (white) are for others"
    )


def used_values(source: Source) -> tuple[float, float] | None:
    """Which stored values of these pictures become black and white; None if they are bytes."""
    how = decoding_of(source)
    if how is None or how.values is None:
        return None
    try:
        looked = look_at_stored(source, _NUM_TO_KNOW_THEIR_TYPE)
    except ValueError:
        return None
    return how.values if looked is not None and looked.type != "uint8" else None


def range_of(settings: Any) -> tuple[float, float] | None:
    """What a training chooses for `data.source.values`; None for bytes, and if none can be read."""
    try:
        looked = look_at_values(settings, NUM_LOOKED_AT)
    except ValueError:
        return None
    return looked.suggested() if looked else None


def look_at_stored(source: Source, num_pictures: int) -> ChannelValues | None:
    """`look_at_values` of a source that is open."""
    chosen = source.some(num_pictures, 0, "statistics")
    looks: list[_Look] = []
    broken: list[BrokenPicture] = []
    for index in chosen.tolist():
        try:
            values = _read_stored(source, index)
        except BrokenPicture as error:
            broken.append(error)
            continue
        if values is not None:
            looks.append(_look(values))
    if not looks and not broken:
        return None
    if not looks:
        raise ValueError(
            f"none of {len(chosen)} pictures can be read, e.g. {broken[0]}; say how many channels "
            "they have with --channels"
        )
    # Pictures of 8 bits among others stay as they are.
    return _summarise([look for look in looks if look.type != "uint8"] or looks)


@dataclass(frozen=True)
class _Look:
    """One array: its range, and some of its pixels."""

    type: str
    lowest: Float[np.ndarray, " C"]
    highest: Float[np.ndarray, " C"]
    pixels: Float[np.ndarray, "P C"]


def _read_stored(source: Source, index: int) -> Shaped[np.ndarray, "H W C"] | None:
    """A picture's values as they are stored; None for what is no array."""
    values = source.stored_values(index)
    how = decoding_of(source)
    if values is not None or how is None:
        return values
    stored = source.stored(index)
    return read_values(stored, source.name(index), how) if stored else None


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
