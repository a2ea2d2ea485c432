"""How training pictures are changed before a probe or a fine-tuned network sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode, v2

from jepakit.core import settings as core
from jepakit.data.sources.source import Picture
from jepakit.data.views import CentreView, RandomView

_GREY = 128


class CropSettings(core.Settings):
    """The random crop and flip of a training view (paper appendix A.2)."""

    scale: tuple[float, float] = Field(
        (0.08, 1.0), description="share of the area that a training view shows, (low, high)"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a left-right flip")

    @model_validator(mode="after")
    def _checked(self) -> CropSettings:
        RandomView.Settings(scale=self.scale, flip=self.flip)
        return self


class TrainingView:
    """A random crop, perhaps flipped, perhaps changed by `num_ops` operations of RandAugment.

    Without `settings` it is the centre view, the same every time.
    """

    def __init__(
        self,
        settings: CropSettings | None,
        size: tuple[int, int],
        num_ops: int = 0,
        magnitude: int = 9,
    ) -> None:
        self.size = size
        self._centre = CentreView(CentreView.Settings(size=size))
        self._crop = None
        if settings is not None:
            crop = RandomView.Settings(size=size, scale=settings.scale, flip=settings.flip)
            self._crop = RandomView(crop)
        self._change = None
        if num_ops:
            self._change = v2.RandAugment(
                num_ops, magnitude, interpolation=InterpolationMode.BILINEAR, fill=_GREY
            )

    def __call__(self, picture: Picture, random: np.random.Generator) -> UInt8[Tensor, "C H W"]:
        """A view whose random numbers all come from `random`.

        Raises `ValueError` where RandAugment is asked for and channels are neither 1 nor 3.
        """
        if self._crop is None:
            return self._centre(picture)
        view = self._crop(picture, random)
        return view if self._change is None else self._changed(view, random)

    def _changed(self, view: Tensor, random: np.random.Generator) -> Tensor:
        if len(view) not in (1, 3):
            raise ValueError(
                f"RandAugment changes pictures of 1 or 3 channels, not {len(view)}: "
                "set randaugment_ops=0"
            )
        assert self._change is not None
        # torchvision draws from the global generator only.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random.integers(2**62)))
            return self._change(view)


class Mixing:
    """Pairs of pictures blended (mixup) or pasted into each other (CutMix), with soft targets.

    0 switches one off; with both on, each batch draws which. Draws from the global generator.
    """

    def __init__(self, mixup: float, cutmix: float, num_classes: int) -> None:
        self._num_classes = num_classes
        choices: list[Any] = []
        if mixup:
            choices.append(v2.MixUp(alpha=mixup, num_classes=num_classes))
        if cutmix:
            choices.append(v2.CutMix(alpha=cutmix, num_classes=num_classes))
        self._choice = v2.RandomChoice(choices) if choices else None

    def __call__(
        self, inputs: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B K"]]:
        """The inputs and the share of each class in them."""
        if self._choice is None:
            return inputs, F.one_hot(labels, self._num_classes).float()
        return self._choice(inputs, labels)
