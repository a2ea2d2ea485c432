"""From words on the command line to networks that can be evaluated, ours or anybody's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from jepakit.core.devices import choose_precision
from jepakit.data.normalization import Normalizer
from jepakit.evaluation.subject import Subject
from jepakit.models import Encoder
from jepakit.models.backbone import Backbone
from jepakit.pretrained.timm import open_timm
from jepakit.runs.config import RunConfig
from jepakit.runs.trained import Trained, open_trained

WhichEncoder = Literal["target", "context", "both"]
TIMM = "timm:"


@dataclass(frozen=True)
class Candidate:
    """A subject, how to make its untrained twin, and where it comes from."""

    subject: Subject
    untrained: Callable[[], Subject]
    folder: Path | None = None  # of its run
    config: RunConfig | None = None
    step: int | None = None  # optimizer steps done, of a run


def open_candidates(name: str, device: torch.device, which: WhichEncoder) -> list[Candidate]:
    """The candidates that a name stands for.

    `timm:MODEL` (`timm:MODEL@FILE` with weights of your own), a run folder, one of its checkpoint
    folders, or a `.pth.tar` of the reference beside its `params-ijepa.yaml`. Raises `ValueError`.
    """
    if name.startswith(TIMM):
        return [_of_timm(name, device)]
    trained = open_trained(Path(name), device)
    encoders = _encoders(trained, which)
    shown = Path(name).name if Path(name).name != "." else Path(name).resolve().name
    return [_of_run(trained, encoder, f"{shown} ({word})") for word, encoder in encoders.items()]


def _encoders(trained: Trained, which: WhichEncoder) -> dict[str, Encoder]:
    target = trained.objective.kept_encoder()
    context = getattr(trained.objective, "context_encoder", target)
    assert isinstance(context, Encoder)
    named = {"target encoder": target, "context encoder": context}
    return named if which == "both" else {f"{which} encoder": named[f"{which} encoder"]}


def _of_run(trained: Trained, encoder: Encoder, name: str) -> Candidate:
    subject = Subject(
        name=name,
        backbone=encoder,
        normalise=trained.normalise,
        size=trained.config.data.view.size,
        fingerprint=fingerprint_of(encoder, trained.normalise),
        device=trained.device,
        precision=choose_precision(trained.device, trained.config.precision),
    )
    return Candidate(
        subject,
        lambda: _with(subject, trained.untrained().objective.kept_encoder()),
        trained.folder.path,
        trained.config,
        trained.step,
    )


def _of_timm(name: str, device: torch.device) -> Candidate:
    model = name.removeprefix(TIMM)
    backbone, statistics, size = open_timm(model, pretrained=True)
    normalise = Normalizer(statistics).to(device)
    subject = Subject(
        name=name,
        backbone=backbone.to(device),
        normalise=normalise,
        size=size,
        fingerprint=fingerprint_of(backbone, normalise),
        device=device,
        precision=choose_precision(device, "auto"),
    )

    def untrained() -> Subject:
        torch.manual_seed(0)
        fresh = open_timm(model.partition("@")[0], pretrained=False)[0]
        return _with(subject, fresh.to(device))

    return Candidate(subject, untrained)


def _with(subject: Subject, backbone: Backbone) -> Subject:
    """The untrained twin: the same in all but its weights."""
    fingerprint = fingerprint_of(backbone, subject.normalise)
    return replace(subject, name="random encoder", backbone=backbone, fingerprint=fingerprint)


def fingerprint_of(backbone: torch.nn.Module, normalise: torch.nn.Module) -> str:
    """Changes with any weight, and with the normalisation."""
    digest = hashlib.sha256()
    for module in (backbone, normalise):
        for key, value in [*module.named_parameters(), *module.named_buffers()]:
            digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:24]
