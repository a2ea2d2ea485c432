"""The network that draws a hidden block: what it is told, and how that reaches the UNet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.models.diffusion import build_unet
from jepakit.models.positions import Grid

_NUM_WAVES = 4  # frequencies by which a box's edges are told


@dataclass(frozen=True)
class Block:
    """What a decoder is told of one hidden block per picture; see `place_of`."""

    tokens: Float[Tensor, "B L D"]
    voice: Int[Tensor, " B"]  # which of the denoiser's voices the tokens come from
    box: Float[Tensor, "B 4"]
    within: Float[Tensor, "B L 2"]


class Denoiser(nn.Module):
    """Noisy pixels, noise level, representation and place of a block in; v or noise out."""

    def __init__(
        self,
        num_channels: int,
        width: int,
        size: int,
        widths: tuple[int, ...],
        num_blocks: int,
        tokens_are_seen: bool,
        whole_view: bool,
        num_voices: int = 1,
    ) -> None:
        super().__init__()
        self.num_voices = num_voices
        self.tokens_are_seen, self.whole_view = tokens_are_seen, whole_view
        token_width = widths[-1] if tokens_are_seen else None
        self.unet, embedding = build_unet(
            num_channels + 1, num_channels, size, widths, num_blocks, token_width
        )
        self.pooled = nn.Linear(width, num_voices * embedding)
        self.place = nn.Linear(8 * _NUM_WAVES, embedding)
        self.nothing = nn.Parameter(torch.zeros(embedding))
        if token_width is not None:
            self.token = nn.Linear(width, num_voices * token_width)
            self.within = nn.Linear(4 * _NUM_WAVES, token_width)
            self.no_token = nn.Parameter(torch.zeros(token_width))

    def forward(
        self,
        noisy: Float[Tensor, "B C S S"],
        level: Int[Tensor, " B"],
        block: Block,
        dropped: Bool[Tensor, " B"],
    ) -> Float[Tensor, "B C S S"]:
        """The estimate. Where `dropped`, the representation is not told, the place always is.

        The condition is normalised over its width, so that only its direction is told and weak
        representations (of untrained networks) speak as loudly as others. Every voice has a linear
        map of its own: no two kinds of representation share a space.
        """
        pooled = self._of_voice(self.pooled(_normed(block.tokens.mean(dim=1))), block.voice)
        told = torch.where(dropped[:, None], self.nothing, pooled) + self.place(waves(block.box))
        inside = self._inside(noisy, block.box)
        inputs = torch.cat([noisy, inside], dim=1)
        if not self.tokens_are_seen:
            return self.unet(inputs, level, class_labels=told, return_dict=False)[0]
        token = self._of_voice(self.token(_normed(block.tokens)), block.voice)
        seen = torch.where(dropped[:, None, None], self.no_token, token)
        seen = seen + self.within(waves(block.within))
        return self.unet(inputs, level, seen, class_labels=told, return_dict=False)[0]

    def _of_voice(
        self, values: Float[Tensor, "B *L F"], voice: Int[Tensor, " B"]
    ) -> Float[Tensor, "B *L G"]:
        """The part of the last dimension that belongs to each picture's voice."""
        if self.num_voices == 1:
            return values
        parts = values.unflatten(-1, (self.num_voices, -1)).movedim(-2, 1)  # B voices *L G
        return parts[torch.arange(len(voice), device=voice.device), voice]

    def _inside(self, noisy: Tensor, box: Float[Tensor, "B 4"]) -> Float[Tensor, "B 1 S S"]:
        """1 where a decoded pixel lies in the box."""
        if not self.whole_view:
            return torch.ones_like(noisy[:, :1])
        centres = (torch.arange(noisy.shape[-1], device=noisy.device) + 0.5) / noisy.shape[-1]
        top, left, bottom, right = (edge[:, None] for edge in box.unbind(dim=1))
        rows = (centres >= top) & (centres < bottom)  # B S
        columns = (centres >= left) & (centres < right)
        return (rows[:, :, None] & columns[:, None, :])[:, None].to(noisy.dtype)


def place_of(
    hidden: Int[Tensor, "B L"], grid: Grid
) -> tuple[Float[Tensor, "B 4"], Float[Tensor, "B L 2"]]:
    """The smallest box around tokens, and where in it each token's centre lies.

    A box is top, left, bottom, right as shares of the view; centres are (row, column), 0 to 1.
    """
    places = torch.stack([hidden // grid[1], hidden % grid[1]], dim=-1)  # B L 2
    first, last = places.amin(dim=1), places.amax(dim=1) + 1
    within = (places + 0.5 - first[:, None]) / (last - first)[:, None]
    sides = torch.tensor(grid, device=hidden.device)
    return torch.cat([first / sides, last / sides], dim=1), within


def cut_out(
    views: Float[Tensor, "B C H W"], box: Float[Tensor, "B 4"], size: int
) -> Float[Tensor, "B C S S"]:
    """The pixels within each picture's box (as in `Block`), bilinear at size x size."""
    steps = (torch.arange(size, device=views.device) + 0.5) / size
    top, left, bottom, right = (edge[:, None] for edge in box.unbind(dim=1))
    y = 2 * (top + (bottom - top) * steps) - 1  # B S, from -1 to 1 as grid_sample has it
    x = 2 * (left + (right - left) * steps) - 1
    shape = (-1, size, size)
    places = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=-1)
    return F.grid_sample(
        views.float(), places, mode="bilinear", padding_mode="border", align_corners=False
    )


def waves(values: Float[Tensor, "*B E"]) -> Float[Tensor, "*B F"]:
    """Sines and cosines of numbers in [0, 1], at doubling frequencies."""
    octaves = math.pi * 2.0 ** torch.arange(_NUM_WAVES, device=values.device)
    angles = (values[..., None] * octaves).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _normed(values: Tensor) -> Tensor:
    return F.layer_norm(values.float(), values.shape[-1:])
