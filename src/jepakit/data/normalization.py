"""From uint8 on the device to centred float32: the statistics of the channels and their use."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field, model_validator
from torch import Tensor, nn

from jepakit.core.settings import Settings as _Settings
from jepakit.data.sources.source import BrokenPicture, Source

_log = logging.getLogger(__name__)
_HALF_A_GREY_LEVEL = 0.5 / 255
_PIXELS_PER_PICTURE = 2**16
_NUM_THREADS = 4


class Statistics(_Settings):
    """Mean and standard deviation of each channel, for values from 0 to 1."""

    mean: tuple[float, ...] = Field(description="one number per channel, 0 to 1")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(description="one number per channel")

    @model_validator(mode="after")
    def _same_length(self) -> "Statistics":
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError("mean and std need one number per channel each")
        return self


Normalization = Literal["data", "imagenet"] | Statistics
IMAGENET = Statistics(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class Normalizer(nn.Module):
    """(x / 255 - mean) / std, as one multiplication and addition."""

    scale: Tensor
    shift: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        self.statistics = statistics
        mean = torch.tensor(statistics.mean, dtype=torch.float64)[:, None, None]
        std = torch.tensor(statistics.std, dtype=torch.float64)[:, None, None]
        self.register_buffer("scale", (1 / (255 * std)).float(), persistent=False)
        self.register_buffer("shift", (-mean / std).float(), persistent=False)

    def forward(self, views: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalised views, float32, on the device of the input."""
        return torch.addcmul(self.shift, views.float(), self.scale)


def choose_statistics(normalization: Normalization, source: Source, seed: int) -> Statistics:
    """What the setting stands for; "data" measures it on the source."""
    if normalization == "data":
        return measure_statistics(source, seed=seed)
    statistics = IMAGENET if normalization == "imagenet" else normalization
    assert isinstance(statistics, Statistics)
    if len(statistics.mean) != source.num_channels:
        raise ValueError(
            f"normalization is for {len(statistics.mean)} channels and the pictures have "
            f"{source.num_channels}: set data.normalization=data"
        )
    return statistics


def measure_statistics(source: Source, num_pictures: int = 1000, seed: int = 0) -> Statistics:
    """Statistics of a random part of the source, every picture with the same weight.

    The same for the same seed. A channel that never changes gets the deviation 1, so that it
    becomes 0 throughout, and the log says so. Raises `ValueError` if no picture is readable.
    """
    chosen = source.some(num_pictures, seed, "statistics")
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        moments = [m for m in threads.map(lambda i: _moments(source, int(i)), chosen) if m]
    if not moments:
        raise ValueError(f"none of {len(chosen)} pictures is readable: check --data")
    mean, square = np.mean(moments, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    constant = std < _HALF_A_GREY_LEVEL
    if constant.any():
        _log.warning("channels %s are the same everywhere: std 1 is used", constant.nonzero()[0])
    return Statistics(mean=tuple(mean.tolist()), std=tuple(np.where(constant, 1.0, std).tolist()))


def _moments(source: Source, index: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and mean square per channel of one picture; None if it is broken."""
    try:
        picture = source.sample(index).picture
    except BrokenPicture:
        return None
    stride = max(1, round((picture.shape[0] * picture.shape[1] / _PIXELS_PER_PICTURE) ** 0.5))
    pixels = picture[::stride, ::stride].astype(np.float64) / 255
    return pixels.mean((0, 1)), (pixels**2).mean((0, 1))
