"""From noise to pixels: samples of a decoder, one per seed and told representation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.core.devices import autocast
from jepakit.evaluation.features import evaluating
from jepakit.models.denoiser import Block
from jepakit.models.diffusion import build_sampler, normal_rows
from jepakit.runs.seeing.decoder import Decoder
from jepakit.runs.seeing.imagine_settings import ImagineSettings

_USUAL_STEPS = {"ancestral": 100, "ddim": 100, "fast": 20}
_TOLD_APART = 2**32  # the noise within a sampler is another than the noise it begins with


@dataclass(frozen=True)
class Rows:
    """One row per sample that is to be drawn."""

    tokens: Float[Tensor, "R L D"]
    box: Float[Tensor, "R 4"]
    within: Float[Tensor, "R L 2"]
    nothing: bool
    voice: int = 0  # which of the denoiser's voices tells the tokens

    def repeated(self, times: int) -> Rows:
        """Every row so many times, one after the other."""
        return self._each(lambda part: part.repeat_interleave(times, dim=0))

    def part(self, first: int, last: int) -> Rows:
        """Some of the rows."""
        return self._each(lambda part: part[first:last])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Rows:
        tokens, box, within = (change(part) for part in (self.tokens, self.box, self.within))
        return replace(self, tokens=tokens, box=box, within=within)


@torch.no_grad()
def sample(
    decoder: Decoder, rows: Rows, seeds: list[int], settings: ImagineSettings
) -> Float[Tensor, "R C S S"]:
    """Normalised pixels of what is decoded."""
    trained, network = decoder.objective.settings, decoder.objective.average
    low, high = _range(decoder.loaded.normalise)
    sampler = build_sampler(
        settings.sampler,
        trained.schedule,
        trained.predicts,
        trained.num_steps,
        settings.steps or _USUAL_STEPS[settings.sampler],
        float(torch.cat([low, high]).abs().max()),
    )
    shape = (decoder.objective.target_encoder.num_channels, trained.size, trained.size)
    generators = [torch.Generator().manual_seed(seed + _TOLD_APART) for seed in seeds]
    pixels = normal_rows(seeds, shape).to(decoder.device) * sampler.init_noise_sigma
    estimate = _estimate(network, rows, settings.guidance)
    extra = {"generator": generators} if settings.sampler == "ancestral" else {}
    with evaluating(network), autocast(decoder.device, decoder.precision):
        for step in sampler.timesteps:
            output = estimate(pixels, step.to(decoder.device).expand(len(seeds)))
            pixels = sampler.step(output.float(), step, pixels, **extra).prev_sample
    return pixels


def _estimate(
    network: nn.Module, rows: Rows, guidance: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """The denoiser, with and without condition if it is guided (arXiv 2207.12598)."""
    none = torch.ones(len(rows.tokens), dtype=torch.bool, device=rows.tokens.device)
    block = Block(rows.tokens, none.long() * rows.voice, rows.box, rows.within)

    def estimate(pixels: Tensor, level: Tensor) -> Tensor:
        if rows.nothing:
            return network(pixels, level, block, none)
        told = network(pixels, level, block, ~none)
        if guidance == 1:
            return told
        free = network(pixels, level, block, none)
        return free + guidance * (told - free)

    return estimate


def boxes_of(
    decoder: Decoder,
    pixels: Float[Tensor, "R C S S"],
    box: Float[Tensor, "R 4"],
    size: tuple[int, int],
    view: tuple[int, int],
) -> UInt8[Tensor, "R C h w"]:
    """The boxes' pixels as bytes, at the size that they have in a view."""
    low, high = (
        bound.to(pixels.device)[:, None, None] for bound in _range(decoder.loaded.normalise)
    )
    shares = (pixels - low) / (high - low)
    if decoder.objective.settings.decodes == "view":
        whole = F.interpolate(shares, view, mode="bilinear", antialias=True)
        corners = (box[:, :2].cpu() * torch.tensor(view)).round().long().tolist()
        cut = [
            w[:, y : y + size[0], x : x + size[1]] for w, (y, x) in zip(whole, corners, strict=True)
        ]
        shares = torch.stack(cut)
    else:
        shares = F.interpolate(shares, size, mode="bilinear", antialias=True)
    return (shares.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def _range(normalise: nn.Module) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    """The normalised values of black and of white."""
    edges = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None]
    device = next(normalise.buffers()).device
    channels = len(normalise.statistics.mean)  # type: ignore[union-attr, arg-type]
    low, high = normalise(edges.expand(2, channels, 1, 1).to(device))[:, :, 0, 0]
    return low.cpu(), high.cpu()
