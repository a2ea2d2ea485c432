"""Diffusion as diffusers has it: the UNet that removes noise, noise schedules, and samplers."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Predicts = Literal["v", "noise"]
Schedule = Literal["cosine", "linear"]
Sampler = Literal["ancestral", "ddim", "fast"]

_BETAS = {"cosine": "squaredcos_cap_v2", "linear": "linear"}
_PREDICTION = {"v": "v_prediction", "noise": "epsilon"}
_LOWEST_SNR = -5.1  # log of alpha / sigma below which DPM-Solver divides by next to nothing


def build_unet(
    num_in: int,
    num_out: int,
    side: int,
    widths: tuple[int, ...],
    num_blocks: int,
    token_width: int | None,
) -> tuple[nn.Module, int]:
    """A UNet and the width of its time embedding, to which a condition is added.

    With `token_width` its two coarsest levels attend to tokens, without it to themselves.
    The embedding scales and shifts normalisations, as in RCDM (arXiv 2112.09164).
    """
    diffusers = _diffusers()
    groups = max(1, min(32, math.gcd(*widths) // 4))
    coarse = [level >= len(widths) - 2 and level > 0 for level in range(len(widths))]
    crossed = token_width is not None
    down, up = (
        ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")
        if crossed
        else ("AttnDownBlock2D", "AttnUpBlock2D")
    )
    options: dict[str, Any] = {
        "sample_size": side,
        "in_channels": num_in,
        "out_channels": num_out,
        "block_out_channels": widths,
        "layers_per_block": num_blocks,
        "down_block_types": tuple(down if c else "DownBlock2D" for c in coarse),
        "up_block_types": tuple(up if c else "UpBlock2D" for c in reversed(coarse)),
        "norm_num_groups": groups,
        "class_embed_type": "identity",
        "resnet_time_scale_shift": "scale_shift",
    }
    if crossed:
        options |= {"cross_attention_dim": token_width, "attention_head_dim": 2}
        return diffusers.UNet2DConditionModel(**options), 4 * widths[0]
    options["attention_head_dim"] = min(widths[-2:])
    return diffusers.UNet2DModel(**options), 4 * widths[0]


def signal_shares(schedule: Schedule, num_steps: int) -> Float[Tensor, " T"]:
    """Per step, the variance that the picture keeps (alpha bar); the rest is noise."""
    made = _diffusers().DDPMScheduler(num_train_timesteps=num_steps, beta_schedule=_BETAS[schedule])
    shares: Tensor = made.alphas_cumprod
    return shares


def build_sampler(
    kind: Sampler,
    schedule: Schedule,
    predicts: Predicts,
    levels: int,
    num_steps: int,
    largest: float,
) -> Any:
    """A scheduler of diffusers, set to its steps: `timesteps`, `step(output, t, x).prev_sample`.

    `levels` are those of the training, `largest` bounds the absolute values of pictures;
    `ancestral` is DDPM with respaced steps, `fast` is DPM-Solver++ of second order.
    """
    diffusers = _diffusers()
    options: dict[str, Any] = {
        "num_train_timesteps": levels,
        "beta_schedule": _BETAS[schedule],
        "prediction_type": _PREDICTION[predicts],
    }
    if kind == "fast":
        made = diffusers.DPMSolverMultistepScheduler
        options |= {"lambda_min_clipped": _LOWEST_SNR}
    else:
        made = diffusers.DDPMScheduler if kind == "ancestral" else diffusers.DDIMScheduler
        options |= {"clip_sample": True, "clip_sample_range": largest}
        options |= {"timestep_spacing": "trailing"}
    sampler = made(**options)
    with warnings.catch_warnings():  # it hands tensors to numpy in a way that will go
        warnings.simplefilter("ignore", DeprecationWarning)
        sampler.set_timesteps(num_steps)
    return sampler


def normal_rows(seeds: list[int], shape: tuple[int, ...]) -> Float[Tensor, "B ..."]:
    """Standard normal numbers on the CPU; a row depends on its seed alone."""
    return torch.stack(
        [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


def _diffusers() -> Any:
    try:
        import diffusers
    except ModuleNotFoundError:
        raise ValueError(
            "decoding pictures needs the package diffusers: pip install 'jepakit[decoder]'"
        ) from None
    return diffusers
