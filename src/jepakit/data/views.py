"""From a decoded picture to what a network sees: random crops for training, centre crops after."""

import math
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from jepakit.core.randomness import generator
from jepakit.core.settings import Settings as _Settings
from jepakit.data.sources.source import Box, Picture


def _both_sides(value: object) -> object:
    if isinstance(value, int):
        return value, value
    if not isinstance(value, list | tuple):
        raise ValueError(f"write a number of pixels, or [height, width], not {value!r}")
    return value


Side = Annotated[int, Field(ge=8)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_both_sides)]
Interpolation = Literal["bilinear", "bicubic"]

_NUM_TRIES = 10
_JITTER_STRENGTHS = (0.8, 0.8, 0.8, 0.2)  # SimCLR: brightness, contrast, saturation, hue


class RandomView:
    """RandomResizedCrop, and if asked for: flip, colour jitter, blur. Works on uint8 throughout."""

    class Settings(_Settings):
        """Which random changes a training picture goes through."""

        size: Size = Field(
            default=(224, 224), description="height, width in pixels; one number = square"
        )
        scale: tuple[float, float] = Field(
            default=(0.3, 1.0), description="share of the area, (low, high)"
        )
        aspect: tuple[float, float] = Field(
            default=(3 / 4, 4 / 3), description="width / height of the crop over that of `size`"
        )
        flip: float = Field(default=0.0, ge=0, le=1, description="probability of a left-right flip")
        jitter: float = Field(
            default=0.0, ge=0, le=2, description="strength of colour changes; SimCLR: 1"
        )
        blur: float = Field(default=0.0, ge=0, le=1, description="probability of a Gaussian blur")
        interpolation: Interpolation = Field(
            default="bilinear", description="how pictures are resized"
        )

        @model_validator(mode="after")
        def _ranges(self) -> "RandomView.Settings":
            if not 0 < self.scale[0] <= self.scale[1] <= 1:
                raise ValueError("scale is (low, high) with 0 < low <= high <= 1, e.g. [0.3, 1.0]")
            if not 0 < self.aspect[0] <= self.aspect[1]:
                raise ValueError("aspect is (low, high) with 0 < low <= high, e.g. [0.75, 1.33]")
            return self

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.size = settings.size

    def __call__(self, picture: Picture, random: np.random.Generator) -> UInt8[Tensor, "C H W"]:
        """A view of `size`, whose random numbers all come from `random`."""
        settings = self.settings
        box, flip = self.draw(picture.size, random)
        view = crop_and_resize(picture, box, settings.size, settings.interpolation)
        if flip:
            view = view.flip(-1)
        if settings.jitter:
            view = jitter(view, settings.jitter, random)
        if settings.blur and random.random() < settings.blur:
            view = blur(view, random)
        return view

    def draw(self, picture_size: tuple[int, int], random: np.random.Generator) -> tuple[Box, bool]:
        """The random part of a view: what is cut out, and whether it is flipped."""
        box = random_box(picture_size, self.settings.scale, self._aspect(), random)
        return box, bool(self.settings.flip and random.random() < self.settings.flip)

    def empty(self, num_views: int, num_channels: int) -> UInt8[Tensor, "B C H W"]:
        """Room for so many views."""
        return torch.empty((num_views, num_channels, *self.size), dtype=torch.uint8)

    def _aspect(self) -> tuple[float, float]:
        height, width = self.settings.size
        low, high = self.settings.aspect
        return low * width / height, high * width / height


class PlannedView:
    """The decisions of a `RandomView` without the pixels: top, left, height, width, flip."""

    def __init__(self, settings: RandomView.Settings) -> None:
        if settings.jitter or settings.blur:
            raise ValueError(
                "pictures that stay on the device are cut and flipped there, no more: set "
                "data.view.jitter=0 data.view.blur=0, or data.keep_decoded=true"
            )
        self._view = RandomView(settings)

    def __call__(self, picture: Picture, random: np.random.Generator) -> Int[Tensor, "5"]:
        """The plan of the view that `RandomView` would give with the same `random`."""
        box, flip = self._view.draw(picture.size, random)
        return torch.tensor([*box, flip])

    def empty(self, num_views: int, num_channels: int) -> Int[Tensor, "B 5"]:
        """Room for so many plans."""
        return torch.empty((num_views, 5), dtype=torch.int64)


class RepeatableView:
    """A random view of each picture that is the same every time: of (seed, copy, index) alone."""

    def __init__(self, settings: RandomView.Settings, seed: int, copy: int) -> None:
        self.view = RandomView(settings)
        self.size = settings.size
        self._keys = (seed, copy)
        self.described = f"random view {copy} of seed {seed}, {settings.model_dump_json()}"

    def __call__(self, picture: Picture, index: int) -> UInt8[Tensor, "C H W"]:
        """The view of picture `index`."""
        seed, copy = self._keys
        return self.view(picture, generator(seed, "repeatable view", copy, index))


class CentreView:
    """The middle of a picture, for evaluation; one that has the size already is kept whole."""

    class Settings(_Settings):
        """How a picture is brought to one size."""

        size: Size = Field(
            default=(224, 224), description="height, width in pixels; one number = square"
        )
        margin: float = Field(
            default=0.875, gt=0, le=1, description="share of the shorter side kept"
        )
        interpolation: Interpolation = Field(
            default="bilinear", description="how pictures are resized"
        )

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.size = settings.size

    def __call__(self, picture: Picture, index: int = 0) -> UInt8[Tensor, "C H W"]:
        """A view of `size`; the same every time, whatever the picture's `index`."""
        settings = self.settings
        box = centre_box(picture.size, settings.size, settings.margin)
        return crop_and_resize(picture, box, settings.size, settings.interpolation)


def random_box(
    picture_size: tuple[int, int],
    scale: tuple[float, float],
    aspect: tuple[float, float],
    random: np.random.Generator,
) -> Box:
    """Area uniform in `scale`, aspect log-uniform, place uniform (Szegedy et al., 2015).

    If ten draws do not fit into the picture: its middle, with the nearest aspect allowed.
    """
    height, width = picture_size
    for _ in range(_NUM_TRIES):
        area = height * width * random.uniform(*scale)
        ratio = math.exp(random.uniform(math.log(aspect[0]), math.log(aspect[1])))
        crop_height, crop_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < crop_height <= height and 0 < crop_width <= width:
            top = int(random.integers(height - crop_height + 1))
            left = int(random.integers(width - crop_width + 1))
            return top, left, crop_height, crop_width
    ratio = min(max(width / height, aspect[0]), aspect[1])
    crop_height = max(1, min(height, round(width / ratio)))
    crop_width = max(1, min(width, round(height * ratio)))
    return _in_the_middle(picture_size, (crop_height, crop_width))


def centre_box(picture_size: tuple[int, int], size: tuple[int, int], margin: float) -> Box:
    """The largest middle box of the shape of `size`, less the margin, but not below `size`.

    So a picture is never enlarged where cutting off less would do.
    """
    factor = min(picture_size[0] / size[0], picture_size[1] / size[1])
    factor = max(factor * margin, min(factor, 1.0))
    box_size = [
        max(1, min(side, round(wanted * factor)))
        for side, wanted in zip(picture_size, size, strict=True)
    ]
    return _in_the_middle(picture_size, (box_size[0], box_size[1]))


def _in_the_middle(picture_size: tuple[int, int], box_size: tuple[int, int]) -> Box:
    top, left = ((side - box) // 2 for side, box in zip(picture_size, box_size, strict=True))
    return top, left, *box_size


def crop_and_resize(
    picture: Picture,
    box: Box,
    size: tuple[int, int],
    interpolation: Interpolation = "bilinear",
) -> UInt8[Tensor, "C H W"]:
    """The box of the picture, resized with antialiasing in uint8."""
    # The copy makes rows adjacent: the resizing kernel is 1.5 times as fast, the copy is cheap.
    crop = picture.crop(box, size).copy()
    view = torch.from_numpy(crop).permute(2, 0, 1)
    if crop.shape[:2] == tuple(size):
        return view
    return F.interpolate(view[None], size=size, mode=interpolation, antialias=True)[0]


def jitter(
    view: UInt8[Tensor, "C H W"], strength: float, random: np.random.Generator
) -> UInt8[Tensor, "C H W"]:
    """Brightness and contrast, and for three channels saturation and hue, in random order."""
    changes = [_brightness, _contrast]
    if view.shape[0] == 3:
        changes += [transforms.adjust_saturation, _hue]
    strengths = np.minimum(np.array(_JITTER_STRENGTHS) * strength, (1, 1, 1, 0.5))
    factors = random.uniform(1 - strengths, 1 + strengths)
    for place in random.permutation(len(changes)):
        view = changes[place](view, float(factors[place]))
    return view


def _brightness(view: Tensor, factor: float) -> Tensor:
    return (view * factor).clamp(0, 255).to(torch.uint8)


def _contrast(view: Tensor, factor: float) -> Tensor:
    pixels = view.float()
    mean = pixels.mean()
    return ((pixels - mean) * factor + mean).clamp(0, 255).to(torch.uint8)


def _hue(view: Tensor, factor: float) -> Tensor:
    return transforms.adjust_hue(view, factor - 1)


def blur(view: UInt8[Tensor, "C H W"], random: np.random.Generator) -> UInt8[Tensor, "C H W"]:
    """Gaussian of 0.1 to 2 pixels in a window of a tenth of the side (SimCLR)."""
    window = [max(3, side // 10 | 1) for side in (view.shape[2], view.shape[1])]
    return transforms.gaussian_blur(view, window, [random.uniform(0.1, 2.0)])
