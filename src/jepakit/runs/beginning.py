"""Where a run begins that has no checkpoint: at random, or with the weights that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from jepakit.data.normalization import Statistics
from jepakit.models import Encoder, Predictor
from jepakit.models.adaptation import adapt_channels, resize_patches
from jepakit.models.backbone import Backbone
from jepakit.models.positions import Grid, resample_positions
from jepakit.objectives import IJepa, Objective, PixelDecoder
from jepakit.runs.config import InitFrom
from jepakit.runs.loaded import Loaded
from jepakit.runs.weights import load_weights

_CAN_FIT = ("patch_embed.proj.weight", "pos_embed")


@dataclass
class Beginning:
    """What was taken, what was changed to fit, and what was left as it was, in words."""

    taken: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def sentences(self, name: str) -> str:
        """All of it; told once, when the run begins."""
        parts = {"taken": self.taken, "resized": self.resized, "left": self.left}
        told = (f"{word}: {', '.join(dict.fromkeys(p)) or 'nothing'}" for word, p in parts.items())
        return f"the run begins with {name}; {'; '.join(told)}"


def begin_with(settings: InitFrom, objective: Objective, statistics: Statistics) -> Beginning:
    """Put the named weights into the networks of an objective, resized where they have to be.

    With `parts: encoder` context and target encoder begin alike, and the predictor at random; with
    `parts: both` every network gets its own. Raises `ValueError` where shapes can not be made to
    fit, telling the settings that do.
    """
    assert isinstance(objective, IJepa | PixelDecoder)
    loaded = load_weights(
        settings.name, torch.device("cpu"), settings.branch, revision=settings.revision
    )
    told = Beginning()
    both = settings.parts == "both"
    sources: dict[str, Backbone | None] = {"context": loaded.encoder, "target": loaded.encoder}
    if both:
        sources = {"context": loaded.context_encoder, "target": loaded.target_encoder}
    targets = {"context": objective.context_encoder, "target": objective.target_encoder}
    for which, source in sources.items():
        source = loaded.encoder if source is None else source
        _fill_encoder(targets[which], source, settings, told)
        own = (loaded.branch or "only") if source is loaded.encoder else which
        told.taken.append(f"the {which} encoder from the {own} encoder")
    if both:
        _fill_predictor(objective.predictor, loaded, settings, told)
        told.taken.append("the predictor")
    else:
        told.left.append("the predictor, which begins at random")
    _compare_statistics(loaded, statistics, told)
    return told


def _fill_encoder(encoder: Encoder, source: Backbone, settings: InitFrom, told: Beginning) -> None:
    if not isinstance(source, Encoder):
        raise ValueError(
            f"{settings.name} is no encoder of I-JEPA's kind (it has class or register tokens): "
            "training goes on from runs, .pth.tar files and IJepa models of Hugging Face"
        )
    _check_same_architecture(encoder, source, settings.name)
    state = source.state_dict()
    weight = state["patch_embed.proj.weight"]
    if source.num_channels != encoder.num_channels:
        told.resized.append(f"channels {source.num_channels} -> {encoder.num_channels}")
        weight = adapt_channels(weight, encoder.num_channels)
    if source.patch != encoder.patch:
        told.resized.append(f"patches {_by(source.patch)} -> {_by(encoder.patch)} pixels")
        weight = resize_patches(weight, encoder.patch)
    state["patch_embed.proj.weight"] = weight
    state["pos_embed"] = _positions(
        source.pos_embed, encoder.pos_embed, (source.grid, encoder.grid), settings, told
    )
    encoder.load_state_dict(state)


def _fill_predictor(
    predictor: Predictor, loaded: Loaded, settings: InitFrom, told: Beginning
) -> None:
    source = loaded.predictor
    if source is None:
        raise ValueError(f"{settings.name} holds no predictor: set init_from.parts=encoder")
    if not _is_alike(source, predictor, _num_heads(source) == _num_heads(predictor)):
        size = source.settings
        raise ValueError(
            f"the predictor of {settings.name} is another one than this run's: set "
            f"predictor.width={size.width} predictor.depth={size.depth} "
            f"predictor.num_heads={_num_heads(source)} predictor.mlp_ratio={size.mlp_ratio:.6g}, "
            "or init_from.parts=encoder"
        )
    state = source.state_dict()
    state["predictor_pos_embed"] = _positions(
        source.predictor_pos_embed,
        predictor.predictor_pos_embed,
        (source.grid, predictor.grid),
        settings,
        told,
    )
    predictor.load_state_dict(state)


def _positions(
    found: Tensor, own: Tensor, grids: tuple[Grid, Grid], settings: InitFrom, told: Beginning
) -> Tensor:
    """Position codes 1 N D for the run's grid: the loaded ones, resampled, or computed anew."""
    old, new = grids
    if settings.positions == "computed":
        told.resized.append(f"positions computed for a grid of {_by(new)}")
        return own
    if old != new:
        told.resized.append(f"positions resampled, a grid of {_by(old)} -> {_by(new)}")
    return resample_positions(found[0], old, new)[None]


def _check_same_architecture(encoder: Encoder, source: Encoder, name: str) -> None:
    if _is_alike(source, encoder, source.num_heads == encoder.num_heads):
        return
    size = source.settings.resolved()
    raise ValueError(
        f"the encoder of {name} is another one than this run's: set encoder.size=null "
        f"encoder.width={size.width} encoder.depth={size.depth} encoder.num_heads={size.num_heads} "
        f"encoder.mlp_ratio={size.mlp_ratio:.6g} (and encoder.patch={list(source.patch)}, or any)"
    )


def _is_alike(source: nn.Module, network: nn.Module, same_heads: bool) -> bool:
    """Whether all tensors have the same shapes, but those that can be made to fit."""
    shapes = [
        {k: v.shape for k, v in module.state_dict().items() if not k.endswith(_CAN_FIT)}
        for module in (source, network)
    ]
    return same_heads and shapes[0] == shapes[1]


def _num_heads(predictor: Predictor) -> int:
    first: Any = predictor.predictor_blocks[0]
    return int(first.attn.num_heads)


def _compare_statistics(loaded: Loaded, statistics: Statistics, told: Beginning) -> None:
    theirs = loaded.normalise.statistics
    if theirs == statistics:
        return
    rounded = {k: [round(v, 4) for v in values] for k, values in theirs.model_dump().items()}
    written = f"{{mean: {rounded['mean']}, std: {rounded['std']}}}"
    told.left.append(
        f"the normalisation, which is this run's own (theirs: data.normalization={written})"
    )


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]} x {pair[1]}"
