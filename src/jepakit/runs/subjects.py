"""From words on the command line to networks that can be evaluated, ours or anybody's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from jepakit.core.devices import choose_precision
from jepakit.evaluation.subject import Subject
from jepakit.models import Encoder
from jepakit.models.backbone import Backbone
from jepakit.pretrained.names import TIMM
from jepakit.pretrained.timm import open_timm
from jepakit.runs.config import RunConfig
from jepakit.runs.loaded import Loaded
from jepakit.runs.model_inputs import ModelInputs
from jepakit.runs.weights import load_weights

WhichEncoder = Literal["target", "context", "both"]


@dataclass(frozen=True)
class Candidate:
    """A subject, how to make its untrained twin, and where it comes from."""

    subject: Subject
    untrained: Callable[[], Subject]
    folder: Path | None = None  # of its run
    config: RunConfig | None = None
    step: int | None = None  # optimizer steps done, of a run
    values: tuple[float, float] | None = None  # which became black and white in its training


def open_candidates(
    name: str, device: torch.device, which: WhichEncoder, size: int | tuple[int, int] | None = None
) -> list[Candidate]:
    """The candidates that a name stands for, whatever `load_weights` takes. Raises `ValueError`.

    They see views of `size` pixels, or of the model's own size.
    """
    loaded = load_weights(name, device, "context" if which == "context" else "target")
    encoders = _encoders(loaded, which)
    shown = name if ":" in name else Path(name).resolve().name
    seen = ModelInputs(loaded).centre_view(size).size
    return [
        _candidate(loaded, encoder, f"{shown}{word}", seen) for word, encoder in encoders.items()
    ]


def _encoders(loaded: Loaded, which: WhichEncoder) -> dict[str, Backbone]:
    """What is asked for, by the words that follow its name."""
    both = (loaded.target_encoder, loaded.context_encoder)
    if which == "both" and both[0] is not None and both[1] is not None:
        return {" (target encoder)": both[0], " (context encoder)": both[1]}
    return {f" ({loaded.branch} encoder)" if loaded.branch else "": loaded.encoder}


def _candidate(loaded: Loaded, encoder: Backbone, name: str, size: tuple[int, int]) -> Candidate:
    trained = loaded.trained
    device = loaded.normalise.scale.device
    subject = Subject(
        name=name,
        backbone=encoder,
        normalise=loaded.normalise,
        size=size,
        fingerprint=fingerprint_of(encoder, loaded.normalise),
        device=device,
        precision=choose_precision(device, trained.config.precision if trained else "auto"),
    )

    def untrained() -> Subject:
        backbone = untrained_encoder(loaded).to(device)
        fingerprint = fingerprint_of(backbone, subject.normalise)
        return replace(subject, name="random encoder", backbone=backbone, fingerprint=fingerprint)

    if trained is None:
        return Candidate(subject, untrained, values=loaded.values)
    return Candidate(
        subject, untrained, trained.folder.path, trained.config, trained.step, loaded.values
    )


def untrained_encoder(loaded: Loaded) -> Backbone:
    """The same network as it was before it learned anything."""
    if loaded.trained is not None:
        return loaded.trained.untrained().objective.kept_encoder()
    torch.manual_seed(0)
    if loaded.description is not None:
        description = loaded.description
        return Encoder(description.encoder, description.num_channels, description.size)
    return open_timm(loaded.name.removeprefix(TIMM).partition("@")[0], pretrained=False)[0]


def fingerprint_of(backbone: torch.nn.Module, normalise: torch.nn.Module) -> str:
    """Changes with any weight, and with the normalisation."""
    digest = hashlib.sha256()
    for module in (backbone, normalise):
        for key, value in [*module.named_parameters(), *module.named_buffers()]:
            digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:24]
