"""From representations back to pixels: a diffusion decoder on frozen networks (paper, appendix E).

Encoders and predictor stay as they were trained. A UNet learns to remove noise from the pixels of a
hidden block, told only what the predictor expects there and where the block lies. What all samples
of one block share is what the prediction holds.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.core import settings as core
from jepakit.core.ema import follow
from jepakit.core.noise import normals, uniforms
from jepakit.core.schedules import linear
from jepakit.core.tensors import Batch
from jepakit.models.diffusion import Predicts, Schedule, build_unet, signal_shares
from jepakit.models.encoder import Encoder
from jepakit.models.positions import Grid
from jepakit.models.predictor import Predictor
from jepakit.objectives.objective import Objective, StepOutput

_NUM_WAVES = 4  # frequencies by which a box's edges are told


@dataclass(frozen=True)
class Block:
    """What a decoder is told of one hidden block per picture; see `place_of`."""

    tokens: Float[Tensor, "B L D"]
    box: Float[Tensor, "B 4"]
    within: Float[Tensor, "B L 2"]


class PixelDecoder(Objective):
    """A denoiser learns; its average follows; both encoders and the predictor are frozen."""

    class Settings(core.Settings):
        """Whose predictions are decoded, what is decoded of a view, and how."""

        kind: Literal["pixel_decoder"] = "pixel_decoder"
        model: str | None = Field(
            None, description="the trained model: a run, a checkpoint, a .pth.tar; must be given"
        )
        condition: Literal["pooled", "tokens"] = Field(
            "pooled", description="average of the block's tokens (paper), or all of them (finer)"
        )
        decodes: Literal["block", "view"] = Field(
            "block", description="the pixels of the block alone, or the whole view around it"
        )
        size: int = Field(32, ge=8, description="pixels a side of what is decoded")
        predicts: Predicts = Field("v", description="what the UNet estimates; paper: noise")
        schedule: Schedule = Field("cosine", description="how noise grows over the steps")
        num_steps: int = Field(1000, ge=2, description="noise levels")
        drop: float = Field(
            0.1, ge=0, lt=1, description="share trained without condition, for guidance"
        )
        ema: tuple[float, float] = Field((0.9999, 0.9999), description="first, last step")
        widths: tuple[int, ...] = Field(
            (64, 128, 256), min_length=2, description="channels of the UNet's levels"
        )
        num_blocks: int = Field(2, ge=1, description="residual blocks per level")

    def __init__(self, settings: Settings, encoder: Encoder, predictor: Predictor) -> None:
        super().__init__()
        _check(settings)
        self.settings = settings
        self.context_encoder = encoder.requires_grad_(False)
        self.predictor = predictor.requires_grad_(False)
        self.target_encoder = copy.deepcopy(encoder)
        self.denoiser = Denoiser(settings, encoder.num_channels, encoder.width)
        self.average = copy.deepcopy(self.denoiser).requires_grad_(False)
        self.register_buffer(
            "signal", signal_shares(settings.schedule, settings.num_steps), persistent=False
        )

    signal: Tensor  # T

    def forward(self, batch: Batch) -> StepOutput:
        """Mean squared error of the denoiser on one hidden block of every picture."""
        draw = torch.randint(2**31, (), device=batch.views.device)
        chosen, level, dropped = self._draw(draw, batch)
        rows = torch.arange(len(chosen), device=chosen.device)
        hidden = batch.masks.targets[rows, chosen]  # B L
        grid = self.context_encoder.patch_embed.grid(*batch.views.shape[-2:])
        block = Block(self.predicted(batch, hidden), *place_of(hidden, grid))
        clean = self.region(batch.views, block.box)
        noise = normals(draw + 1, batch.indices, tuple(clean.shape[1:]))
        kept, lost = self._shares(level)
        output = self.denoiser(kept * clean + lost * noise, level, block, dropped)
        wanted = kept * noise - lost * clean if self.settings.predicts == "v" else noise
        errors = F.mse_loss(output.float(), wanted, reduction="none").mean(dim=(1, 2, 3))
        loss = errors.mean()
        late = (level >= self.settings.num_steps // 2).float()
        logs = {
            "loss/little_noise": _mean_where(errors.detach(), 1 - late),
            "loss/much_noise": _mean_where(errors.detach(), late),
        }
        return StepOutput(loss, logs)

    def _draw(
        self, draw: Tensor, batch: Batch
    ) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"], Bool[Tensor, " B"]]:
        """For each picture a target block, a noise level, and whether it goes unconditioned."""
        numbers = uniforms(draw, batch.indices, 3)
        num_blocks = batch.masks.targets.shape[1]
        chosen = (numbers[:, 0] * num_blocks).long()
        level = (numbers[:, 1] * self.settings.num_steps).long()
        return chosen, level, numbers[:, 2] < self.settings.drop

    def _shares(self, level: Int[Tensor, " B"]) -> tuple[Tensor, Tensor]:
        """Factors of picture and noise, B 1 1 1."""
        signal = self.signal[level][:, None, None, None]
        return signal.sqrt(), (1 - signal).sqrt()

    @torch.no_grad()
    def predicted(self, batch: Batch, hidden: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """What the predictor expects in one block of each picture, from the first context."""
        grid = self.context_encoder.patch_embed.grid(*batch.views.shape[-2:])
        seen = batch.masks.context[:, :1]
        visible = self.context_encoder(batch.views, seen[:, 0])[:, None]
        return self.predictor(visible, seen, hidden[:, None], grid)[:, 0, 0].float()

    def region(
        self, views: Float[Tensor, "B C H W"], box: Float[Tensor, "B 4"]
    ) -> Float[Tensor, "B C S S"]:
        """The pixels that are decoded: those of the box, or of the whole view, resized."""
        size = self.settings.size
        if self.settings.decodes == "view":
            return F.interpolate(views, (size, size), mode="bilinear", antialias=True)
        return cut_out(views, box, size)

    def update_targets(self, progress: float) -> None:
        """One step of the moving average of the denoiser's weights; sampling uses it."""
        follow(self.average, self.denoiser, linear(progress, *self.settings.ema))

    def kept_encoder(self) -> Encoder:
        """The frozen target encoder."""
        return self.target_encoder


class Denoiser(nn.Module):
    """Noisy pixels, noise level, representation and place of a block in; v or noise out."""

    def __init__(self, settings: PixelDecoder.Settings, num_channels: int, width: int) -> None:
        super().__init__()
        self.tokens_are_seen = settings.condition == "tokens"
        token_width = settings.widths[-1] if self.tokens_are_seen else None
        self.unet, embedding = build_unet(
            num_channels + 1,
            num_channels,
            settings.size,
            settings.widths,
            settings.num_blocks,
            token_width,
        )
        self.whole_view = settings.decodes == "view"
        self.pooled = nn.Linear(width, embedding)
        self.place = nn.Linear(8 * _NUM_WAVES, embedding)
        self.nothing = nn.Parameter(torch.zeros(embedding))
        if token_width is not None:
            self.token = nn.Linear(width, token_width)
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
        representations (of untrained networks) speak as loudly as others.
        """
        pooled = self.pooled(_normed(block.tokens.mean(dim=1)))
        told = torch.where(dropped[:, None], self.nothing, pooled) + self.place(waves(block.box))
        inside = self._inside(noisy, block.box)
        inputs = torch.cat([noisy, inside], dim=1)
        if not self.tokens_are_seen:
            return self.unet(inputs, level, class_labels=told, return_dict=False)[0]
        token = self.token(_normed(block.tokens))
        seen = torch.where(dropped[:, None, None], self.no_token, token)
        seen = seen + self.within(waves(block.within))
        return self.unet(inputs, level, seen, class_labels=told, return_dict=False)[0]

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


def _mean_where(values: Float[Tensor, " B"], weight: Float[Tensor, " B"]) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _check(settings: PixelDecoder.Settings) -> None:
    if not 0 <= min(settings.ema) <= max(settings.ema) <= 1:
        raise ValueError(f"objective.ema={list(settings.ema)} must lie in [0, 1]")
    halvings = 2 ** (len(settings.widths) - 1)
    if settings.size % halvings:
        raise ValueError(
            f"objective.size={settings.size} is not halved {len(settings.widths) - 1} times "
            f"without rest: set objective.size={max(8, settings.size // halvings * halvings)}"
        )
    if any(width % 8 for width in settings.widths):
        raise ValueError(
            f"objective.widths={list(settings.widths)} must be multiples of 8: e.g. [32,64,128]"
        )
