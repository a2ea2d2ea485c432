"""A trained decoder, opened, and whether it belongs to a model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from jepakit.core.devices import Precision
from jepakit.objectives.pixel_decoder import Heard, PixelDecoder
from jepakit.runs.loaded import Loaded
from jepakit.runs.seeing.energy import Trio
from jepakit.runs.weights import load_weights


@dataclass(frozen=True)
class Decoder:
    """A trained decoder on a device, with the frozen networks it was trained on."""

    name: str
    objective: PixelDecoder
    loaded: Loaded
    device: torch.device
    precision: Precision

    @property
    def trio(self) -> Trio:
        """The frozen networks whose predictions it decodes."""
        o = self.objective
        return Trio(
            o.context_encoder,
            o.target_encoder,
            o.predictor,
            self.loaded.normalise,
            self.device,
            self.precision,
        )

    @property
    def untrained(self) -> Trio | None:
        """The untrained networks that it has learned to draw from, if it has."""
        if not self.knows("untrained"):
            return None
        o = self.objective
        encoder, predictor = o.untrained_encoder, o.untrained_predictor
        return replace(
            self.trio, context_encoder=encoder, target_encoder=encoder, predictor=predictor
        )

    def knows(self, source: Heard) -> bool:
        """Whether it has learned to draw from such representations."""
        return source in self.objective.settings.told

    def voice(self, source: Heard) -> int:
        """By which of its voices they are told; what it does not know, by the first."""
        return self.objective.settings.told.index(source) if self.knows(source) else 0


def open_decoder(name: str, device: torch.device, precision: Precision) -> Decoder:
    """The decoder in a run folder or checkpoint. `ValueError` if there is another kind of run."""
    loaded = load_weights(name, device)
    objective = loaded.trained.objective if loaded.trained else None
    if not isinstance(objective, PixelDecoder):
        raise ValueError(
            f"{name} is no decoder: train one with `jepa pretrain configs/decoder/scenes_cpu.yaml "
            "objective.model=MODEL`, MODEL being what is looked at, and name its run"
        )
    return Decoder(name, objective, loaded, device, precision)


def check_same_model(decoder: Decoder, model: Loaded) -> None:
    """`ValueError` if the decoder was not trained on this model's weights."""
    ours, theirs = decoder.objective, (model.target_encoder, model.predictor)
    if any(network is None for network in theirs):
        raise ValueError(
            f"{model.name} holds no predictor, whose predictions are decoded: give a run folder or "
            "a .pth.tar file"
        )
    for own, other in zip((ours.target_encoder, ours.predictor), theirs, strict=True):
        assert other is not None
        if not _equal(own, other):
            told = ours.settings.model
            raise ValueError(
                f"{decoder.name} decodes the predictions of {told}, whose weights are not those of "
                f"{model.name}: name {told} as the model, or train a decoder with "
                f"objective.model={model.name}"
            )


def check_same_size(decoder: Decoder, size: tuple[int, int]) -> None:
    """`ValueError` if pictures are looked at with another size than it was trained at."""
    own = tuple(decoder.loaded.size)
    if own != tuple(size):
        raise ValueError(
            f"{decoder.name} decodes views of {own[0]} x {own[1]} pixels, and these have {size[0]} "
            f"x {size[1]}: look with --size {own[0]}, or train a decoder with "
            f"data.view.size={size[0]}"
        )


def _equal(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    learned = [name for name in ours if not name.endswith("pos_embed")]  # resampled with the size
    return ours.keys() == theirs.keys() and all(
        ours[name].shape == theirs[name].shape and torch.equal(ours[name], theirs[name])
        for name in learned
    )
