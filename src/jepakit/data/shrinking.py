"""Makes pictures smaller, smoothly, and never larger."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8

from jepakit.data.sources.source import Picture

# A JPEG may be decoded at a smaller scale first, if so much remains for smooth shrinking.
_REMAINING = 2


def shrunk_size(size: tuple[int, int], shorter_side: int | None) -> tuple[int, int] | None:
    """The size at which the shorter side is `shorter_side`; None where it is not larger now."""
    if shorter_side is None or min(size) <= shorter_side:
        return None
    factor = shorter_side / min(size)
    return round(size[0] * factor), round(size[1] * factor)


def resized(picture: UInt8[np.ndarray, "H W C"], size: tuple[int, int]) -> np.ndarray:
    """The picture at another size: bilinear, antialiased."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    small = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)[0]
    return small.permute(1, 2, 0).contiguous().numpy()


def pixels_at_most(picture: Picture, shorter_side: int | None) -> UInt8[np.ndarray, "H W C"]:
    """All of an opened picture, shrunk if it is larger; raises `BrokenPicture`."""
    size = shrunk_size(picture.size, shorter_side)
    if size is None:
        return picture.pixels()
    whole = (0, 0, *picture.size)
    return resized(picture.crop(whole, (_REMAINING * size[0], _REMAINING * size[1])), size)
