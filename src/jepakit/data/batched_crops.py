"""Crops and resizes a whole batch on its device, as two matrix products."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from jepakit.data.views import Interpolation


def crop_and_resize_batch(
    pictures: UInt8[Tensor, "B C H0 W0"],
    boxes: Int[Tensor, "B 4"],
    flips: Bool[Tensor, " B"],
    size: tuple[int, int],
    interpolation: Interpolation = "bilinear",
) -> UInt8[Tensor, "B C H W"]:
    """What `crop_and_resize` gives for each picture and its box, to one grey level.

    A resized row is a weighted sum of rows, and so is a column: with the weights of all pictures
    at hand the batch is a product from the left and one from the right. Where `flips` is set, left
    and right are exchanged.
    """
    tops, lefts, heights, widths = boxes.float().unbind(1)
    down = _weights(tops, heights, pictures.shape[2], size[0], interpolation)
    across = _weights(lefts, widths, pictures.shape[3], size[1], interpolation)
    across = torch.where(flips[:, None, None], across.flip(1), across)
    # Not a broadcast product of four axes: that would copy the weights for every channel.
    rows = torch.einsum("bhy,bcyx->bchx", down, pictures.float())
    resized = torch.einsum("bchx,bwx->bchw", rows, across)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _weights(
    starts: Float[Tensor, " B"],
    lengths: Float[Tensor, " B"],
    num_pixels: int,
    size: int,
    interpolation: Interpolation,
) -> Float[Tensor, "B size pixels"]:
    """The share of each pixel of the picture in each pixel of the view; they sum to 1.

    The filter is as wide as the pixels of the view (antialiasing), and nothing outside of the box
    takes part, as in `torch.nn.functional.interpolate`.
    """
    step = (lengths / size)[:, None, None]
    centres = step * (torch.arange(size, device=starts.device)[None, :, None] + 0.5)
    places = torch.arange(num_pixels, device=starts.device)[None, None] - starts[:, None, None]
    distances = (places + 0.5 - centres) / step.clamp(min=1)
    shares = _triangle(distances) if interpolation == "bilinear" else _cubic(distances)
    within = (places >= 0) & (places < lengths[:, None, None])
    shares = torch.where(within, shares, 0)
    return shares / shares.sum(2, keepdim=True)


def _triangle(distances: Tensor) -> Tensor:
    return (1 - distances.abs()).clamp(min=0)


def _cubic(distances: Tensor) -> Tensor:
    """Keys' cubic (1981) with a = -1/2."""
    x = distances.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))
