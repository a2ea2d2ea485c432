"""How pixels of any kind become an upright uint8 array of the wanted channels."""

import hashlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydantic import Field, field_validator

from jepakit.core.settings import Settings

LARGEST_USUAL_PICTURE = 89_478_485  # pixels; a quarter of a gigabyte once decoded as RGB
SAY_THE_RANGE = (
    "say which become black and white: data.source.values=[LOW,HIGH] in a training, "
    "--values LOW,HIGH of other commands"
)
MODE_OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
_DEEP = ("I", "F")  # how PIL's modes of one channel of more than 8 bits begin


class Decoding(Settings):
    """How the files of a source become pictures: what all sources of files have in common."""

    channels: int = Field(default=3, ge=1, description="1 grey, 3 RGB, 4 RGBA, others from arrays")
    max_pixels: int = Field(
        default=LARGEST_USUAL_PICTURE, ge=1, description="pictures that claim more are refused"
    )
    values: tuple[float, float] | None = Field(
        default=None, description="over 8 bits: (low, high) become 0 and 255; null = all of 16 bits"
    )

    @field_validator("values")
    @classmethod
    def _is_range(cls, values: tuple[float, float] | None) -> tuple[float, float] | None:
        if values is not None and not values[0] < values[1]:
            raise ValueError("values are (low, high) with low < high, e.g. [0, 10000]")
        return values


def decoding_of(source: object) -> Decoding | None:
    """How the pictures of a source are decoded; None where they are drawn, or decoded already."""
    settings = getattr(source, "settings", None)
    return settings if isinstance(settings, Decoding) else None


def fingerprint_of_values(pictures: str, how: Decoding) -> str:
    """The fingerprint of pictures of which these values become black and white: others look so."""
    if how.values is None:
        return pictures
    return hashlib.sha256(f"{pictures} {how.values}".encode()).hexdigest()[:16]


def fit_upright(image: Image.Image, how: Decoding) -> UInt8[np.ndarray, "H W C"]:
    """`fit_image`; and values of more than 8 bits become black and white as `how.values` says."""
    if how.values is not None and is_deep(image):
        return fit_array(np.asarray(image), how)
    return fit_image(image, how.channels)


def is_deep(image: Image.Image) -> bool:
    """Whether a picture of PIL has more than 8 bits."""
    return image.mode.startswith(_DEEP)


def fit_image(image: Image.Image, num_channels: int) -> UInt8[np.ndarray, "H W C"]:
    """An upright picture of PIL in the wanted channels, as `open_picture` converts them."""
    if num_channels not in MODE_OF_CHANNELS:
        raise ValueError(
            f"a {image.mode} picture where channels={num_channels} "
            "needs .npy or TIFF files with that many channels"
        )
    if image.mode.startswith("I"):
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    elif image.mode == "F":
        raise ValueError("floating-point pictures have no fixed range: store 8 or 16 bits")
    if image.mode == "CMYK":
        image = image.convert("RGB")
    if num_channels != 4 and image.has_transparency_data:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image.convert("RGBA"))
    array = np.array(image.convert(MODE_OF_CHANNELS[num_channels]))
    return array.reshape(*array.shape[:2], num_channels)


def _to_8_bits(array: np.ndarray, values: tuple[float, float] | None = None) -> np.ndarray:
    """8 bits as they are; 16 bits scaled, so that 65535 becomes 255; or `values` become 0, 255."""
    if array.dtype == np.uint8:
        return array
    if values is not None:
        scaled = (array.astype(np.float32) - values[0]) * (255 / (values[1] - values[0]))
        return np.rint(np.clip(np.nan_to_num(scaled), 0, 255)).astype(np.uint8)
    is_16_bit = array.dtype.kind in "iu" and array.size and array.min() >= 0
    if not is_16_bit or array.max() > 65535:
        raise ValueError(
            f"{array.dtype} values have no fixed range: store 8 or 16 bits, or {SAY_THE_RANGE}"
        )
    return ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def fit_array(array: np.ndarray, how: Decoding) -> UInt8[np.ndarray, "H W C"]:
    """From H W or H W C of any values to 8 bits and the wanted channels; else `ValueError`."""
    array = _to_8_bits(array.reshape(*array.shape[:2], -1), how.values)
    if array.shape[2] == how.channels:
        return np.ascontiguousarray(array)
    image = np.ascontiguousarray(array[:, :, 0] if array.shape[2] == 1 else array)
    return fit_image(Image.fromarray(image), how.channels)


def check_array(height: int, width: int, found: int, how: Decoding) -> None:
    """Before the pixels are read."""
    check_size(height, width, how.max_pixels)
    both_are_usual = found in MODE_OF_CHANNELS and how.channels in MODE_OF_CHANNELS
    if found != how.channels and not both_are_usual:
        raise ValueError(f"{found} channels where channels={how.channels}")


def check_size(height: int, width: int, max_pixels: int) -> None:
    """`ValueError` for a picture that is empty, or claims more pixels than it may have."""
    if height * width > max_pixels:
        raise ValueError(
            f"{width} x {height} pixels are more than max_pixels={max_pixels} (decompression bomb?)"
        )
    if height * width == 0:
        raise ValueError("the picture is empty")
