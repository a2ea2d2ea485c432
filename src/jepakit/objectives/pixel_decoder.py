"""From representations back to pixels: a diffusion decoder on frozen networks (paper, appendix E).

Encoders and predictor stay as they were trained. A UNet learns to remove noise from the pixels of a
hidden block, told only what the predictor expects there and where the block lies. What all samples
of one block share is what the prediction holds. To be compared with other representations it has
to know these as well: `told` names what it learns from.
"""

from __future__ import annotations

import copy
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
from jepakit.models.denoiser import Block, Denoiser, cut_out, place_of
from jepakit.models.diffusion import Predicts, Schedule, signal_shares
from jepakit.models.encoder import Encoder
from jepakit.models.predictor import Predictor
from jepakit.models.tokens import take_tokens
from jepakit.objectives.objective import Objective, StepOutput

Heard = Literal["predicted", "target", "untrained"]


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
        told: tuple[Heard, ...] = Field(
            ("predicted",),
            min_length=1,
            description="what it learns to draw from, one a picture at random: the prediction "
            "(paper); also the true representation (target) and what untrained networks predict",
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
        if "untrained" in settings.told:  # these are random yet: weights are loaded later
            self.untrained_encoder = copy.deepcopy(encoder)
            self.untrained_predictor = copy.deepcopy(predictor)
        self.denoiser = Denoiser(
            encoder.num_channels,
            encoder.width,
            settings.size,
            settings.widths,
            settings.num_blocks,
            tokens_are_seen=settings.condition == "tokens",
            whole_view=settings.decodes == "view",
            num_voices=len(settings.told),
        )
        self.average = copy.deepcopy(self.denoiser).requires_grad_(False)
        self.register_buffer(
            "signal", signal_shares(settings.schedule, settings.num_steps), persistent=False
        )

    signal: Tensor  # T

    def forward(self, batch: Batch) -> StepOutput:
        """Mean squared error of the denoiser on one hidden block of every picture."""
        draw = torch.randint(2**31, (), device=batch.views.device)
        chosen, voice, level, dropped = self._draw(draw, batch)
        rows = torch.arange(len(chosen), device=chosen.device)
        hidden = batch.masks.targets[rows, chosen]  # B L
        grid = self.context_encoder.patch_embed.grid(*batch.views.shape[-2:])
        block = Block(self.heard(batch, hidden, voice), voice, *place_of(hidden, grid))
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
    ) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"], Int[Tensor, " B"], Bool[Tensor, " B"]]:
        """For each picture a target block, who tells of it, a noise level, and whether nobody."""
        numbers = uniforms(draw, batch.indices, 4)
        num_blocks = batch.masks.targets.shape[1]
        chosen = (numbers[:, 0] * num_blocks).long()
        level = (numbers[:, 1] * self.settings.num_steps).long()
        voice = (numbers[:, 3] * len(self.settings.told)).long()
        return chosen, voice, level, numbers[:, 2] < self.settings.drop

    def _shares(self, level: Int[Tensor, " B"]) -> tuple[Tensor, Tensor]:
        """Factors of picture and noise, B 1 1 1."""
        signal = self.signal[level][:, None, None, None]
        return signal.sqrt(), (1 - signal).sqrt()

    @torch.no_grad()
    def heard(
        self, batch: Batch, hidden: Int[Tensor, "B L"], voice: Int[Tensor, " B"]
    ) -> Float[Tensor, "B L D"]:
        """What is told of one block of each picture, by the voice (a place in `told`) it has."""
        if len(self.settings.told) == 1:
            return self.told_by(self.settings.told[0], batch, hidden)
        every = torch.stack([self.told_by(v, batch, hidden) for v in self.settings.told], dim=1)
        return every[torch.arange(len(voice), device=voice.device), voice]

    @torch.no_grad()
    def told_by(
        self, source: Heard, batch: Batch, hidden: Int[Tensor, "B L"]
    ) -> Float[Tensor, "B L D"]:
        """The block's tokens, as predicted from the first context, or as they truly are."""
        if source == "target":
            tokens = take_tokens(self.target_encoder(batch.views), hidden).float()
            return F.layer_norm(tokens, tokens.shape[-1:])
        if source == "untrained":
            encoder, predictor = self.untrained_encoder, self.untrained_predictor
        else:
            encoder, predictor = self.context_encoder, self.predictor
        grid = encoder.patch_embed.grid(*batch.views.shape[-2:])
        seen = batch.masks.context[:, :1]
        visible = encoder(batch.views, seen[:, 0])[:, None]
        return predictor(visible, seen, hidden[:, None], grid)[:, 0, 0].float()

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

    def compiled_parts(self) -> list[nn.Module]:
        """The denoiser, too."""
        return [*super().compiled_parts(), self.denoiser]

    def kept_encoder(self) -> Encoder:
        """The frozen target encoder."""
        return self.target_encoder


def _mean_where(values: Float[Tensor, " B"], weight: Float[Tensor, " B"]) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _check(settings: PixelDecoder.Settings) -> None:
    if len(set(settings.told)) < len(settings.told):
        raise ValueError(f"objective.told={list(settings.told)} names one twice: name each once")
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
