"""One door for weights: what a name stands for becomes networks and a report of what was read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from jepakit.data.normalization import Normalizer
from jepakit.models import Encoder, Predictor
from jepakit.models.backbone import Backbone
from jepakit.pretrained.timm import open_timm
from jepakit.runs.trained import open_trained

Branch = Literal["target", "context"]
TIMM = "timm:"


@dataclass(frozen=True)
class LoadReport:
    """Which tensors were used, which were left, which had to be made up, in the file's names."""

    used: tuple[str, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    sentence: str  # for people: what was opened, and which branch it is


@dataclass(frozen=True)
class Loaded:
    """What a name stands for, on a device."""

    name: str
    encoder: Backbone  # the branch that was asked for
    context_encoder: Encoder | None
    target_encoder: Encoder | None
    predictor: Predictor | None
    branch: Branch | None  # what `encoder` is; None = it has no branches, or it is not recorded
    normalise: Normalizer
    size: tuple[int, int]  # height and width of a view, in pixels
    report: LoadReport


def load_weights(
    name: str,
    device: torch.device,
    branch: Branch = "target",
    revision: str | None = None,
    partial: bool = False,
) -> Loaded:
    """The networks that a name stands for. Raises `ValueError` with one sentence.

    A run folder, one of its checkpoint folders, a `.pth.tar` of the reference, or `timm:MODEL`
    (`timm:MODEL@FILE` with weights of your own).
    """
    if name.startswith(TIMM):
        return _from_timm(name, device)
    return _from_run(name, device, branch)


def _from_timm(name: str, device: torch.device) -> Loaded:
    backbone, statistics, size = open_timm(name.removeprefix(TIMM))
    report = LoadReport(tuple(backbone.state_dict()), (), (), f"{name}: one encoder of timm")
    normalise = Normalizer(statistics).to(device)
    return Loaded(name, backbone.to(device), None, None, None, None, normalise, size, report)


def _from_run(name: str, device: torch.device, branch: Branch) -> Loaded:
    trained = open_trained(Path(name), device)
    objective: nn.Module = trained.objective
    target = trained.objective.kept_encoder()
    context = getattr(objective, "context_encoder", None)
    predictor = getattr(objective, "predictor", None)
    encoder = target if branch == "target" else context
    if encoder is None:
        raise ValueError(f"{name} has no context encoder: ask for branch='target'")
    sentence = f"{name}: the {branch} encoder"
    report = LoadReport(tuple(objective.state_dict()), (), (), sentence)
    size = trained.config.data.view.size
    return Loaded(
        name, encoder, context, target, predictor, branch, trained.normalise, size, report
    )
