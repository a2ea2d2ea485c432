"""AdamW with the schedules of learning rate and weight decay (paper appendix A.1); or Muon."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from jepakit.core import settings as core
from jepakit.core.devices import Precision
from jepakit.core.schedules import cosine, warmup_cosine
from jepakit.training.muon import Muon


class OptimizationSettings(core.Settings):
    """How long, and how fast. The defaults are those of the released recipe."""

    method: Literal["adamw", "muon"] = Field(
        "adamw", description="adamw (the paper's), or muon for the matrices of the blocks"
    )
    muon_scale: float = Field(1.0, gt=0, description="muon's learning rate, in multiples of lr")
    epochs: float = Field(100, gt=0, description="length of the run")
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    start_lr: float = Field(2e-4, ge=0, description="learning rate where the warm-up begins")
    final_lr: float = Field(1e-6, ge=0, description="learning rate at the end")
    warmup_epochs: float = Field(40, ge=0, description="rise to the peak; paper: 15")
    weight_decay: float = Field(0.04, ge=0, description="of matrices, at the first step")
    final_weight_decay: float = Field(0.4, ge=0, description="of matrices, at the last step")
    schedule_scale: float = Field(1.0, gt=0, description="schedules end at this multiple of epochs")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's memory")
    eps: float = Field(1e-8, gt=0, description="AdamW's smallest denominator")
    clip_gradients: float | None = Field(None, gt=0, description="largest gradient norm")


def build_optimizer(
    objective: nn.Module,
    settings: OptimizationSettings,
    device: torch.device,
    precision: Precision = "fp32",
) -> torch.optim.AdamW:
    """An optimizer of what trains; biases and other 1-D parameters are never decayed.

    The groups are the matrices of each network, then the 1-D parameters of each network: for
    I-JEPA the four groups of the reference's checkpoints, in their order. With Muon its own
    matrices follow, those of each network's blocks, multiplied in the run's `precision`.
    """
    matrices, vectors, of_blocks = [], [], []
    for network in objective.children():
        trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
        own = [n for n, p in trained.items() if settings.method == "muon" and _in_block(n, p)]
        if own:
            of_blocks.append(_group([trained.pop(name) for name in own], orthogonal=True))
            of_blocks[-1]["scale"] = settings.muon_scale
        if trained:
            matrices.append(_group([p for p in trained.values() if p.ndim > 1]))
            vectors.append(_group([p for p in trained.values() if p.ndim <= 1], decayed=False))
    kind = Muon if settings.method == "muon" else torch.optim.AdamW
    optimizer = kind(
        matrices + vectors + of_blocks,
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=device.type in ("cpu", "cuda", "mps"),
    )
    if isinstance(optimizer, Muon):
        optimizer.precision = precision
    return optimizer


def _in_block(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and "blocks." in name


def _group(
    parameters: list[nn.Parameter], decayed: bool = True, orthogonal: bool = False
) -> dict[str, Any]:
    group = {"params": parameters, "decayed": decayed, "orthogonal": orthogonal}
    return group if decayed else {**group, "weight_decay": 0.0}


class Schedules:
    """Learning rate and weight decay of every step."""

    def __init__(self, settings: OptimizationSettings, steps_per_epoch: int) -> None:
        self.settings = settings
        self.steps_per_epoch = steps_per_epoch
        self.num_steps = max(1, round(settings.epochs * steps_per_epoch))
        self.horizon = settings.schedule_scale * settings.epochs * steps_per_epoch
        self.warmup_steps = settings.warmup_epochs * steps_per_epoch

    def progress(self, step: int) -> float:
        """The share of the schedule done before the step of this number (from 0)."""
        return min(step / self.horizon, 1.0)

    def learning_rate(self, step: int) -> float:
        """The rate of the step of this number (from 0). The first step is already one warmer."""
        s, horizon = self.settings, max(1, int(self.horizon))
        warmup = min(self.warmup_steps / horizon, 1.0)
        return warmup_cosine((step + 1) / horizon, warmup, s.start_lr, s.lr, s.final_lr)

    def weight_decay(self, step: int) -> float:
        """The decay of matrices at the step of this number (from 0)."""
        s, horizon = self.settings, max(1, int(self.horizon))
        return cosine((step + 1) / horizon, s.weight_decay, s.final_weight_decay)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set both for the step of this number (from 0)."""
        rate, decay = self.learning_rate(step), self.weight_decay(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
            if group["decayed"]:
                group["weight_decay"] = decay
