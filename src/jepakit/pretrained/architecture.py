"""Widths, depths, patches and grids of networks, read off the shapes of their tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from jepakit.data.normalization import IMAGENET, Statistics
from jepakit.models import SIZES, Encoder, Predictor
from jepakit.models.positions import Grid
from jepakit.models.sizes import Size
from jepakit.pretrained.weights import NETWORKS, PREDICTOR, Description, StateDict

# The released models' heads; they do not show in any shape.
HEADS = {size.width: size.num_heads for size in SIZES.values()}
_GREY = Statistics(mean=(0.449,), std=(0.226,))  # the mean of ImageNet's three channels


@dataclass(frozen=True)
class Known:
    """What a file says about itself beside its tensors; None = nothing."""

    num_heads: int | None = None
    size: tuple[int, int] | None = None
    normalization: Statistics | None = None


def describe(
    networks: Mapping[str, StateDict], where: str, known: Known | None = None
) -> Description:
    """The description of networks by their shapes. `ValueError` where these do not suffice."""
    known = known or Known()
    encoders = [state for name, state in networks.items() if name != PREDICTOR]
    state = next(iter(encoders))
    settings = _encoder(state, where, known)
    patch, num_channels = _patch(state), state["patch_embed.proj.weight"].shape[1]
    if known.size is not None:
        size = known.size
    else:
        rows, columns = _square_grid(_num_positions(networks, where), where)
        size = (rows * patch[0], columns * patch[1])
    predictor = networks.get(PREDICTOR)
    return Description(
        encoder=settings,
        predictor=_predictor(predictor, settings, where) if predictor else None,
        num_channels=num_channels,
        size=size,
        normalization=known.normalization or usual_statistics(num_channels),
    )


def usual_statistics(num_channels: int) -> Statistics:
    """ImageNet's for pictures of three channels and of one; others are left as they are."""
    if num_channels == 3:
        return IMAGENET
    return (
        _GREY
        if num_channels == 1
        else Statistics(mean=(0.0,) * num_channels, std=(1.0,) * num_channels)
    )


def _encoder(state: StateDict, where: str, known: Known) -> Encoder.Settings:
    width = state["patch_embed.proj.weight"].shape[0]
    depth, hidden = _depth(state, "blocks"), _hidden(state, "blocks", where)
    num_heads = known.num_heads or HEADS.get(width)
    if num_heads is None:
        raise ValueError(
            f"the number of attention heads of {where} does not show in its shapes, and "
            f"{width} is no standard width ({', '.join(map(str, HEADS))}): name the file of "
            "settings that it was trained with, e.g. FILE@CONFIG.yaml"
        )
    rows, columns = _patch(state)
    patch: int | tuple[int, int] = rows if rows == columns else (rows, columns)
    found = Size(width, depth, num_heads, _ratio(hidden, width))
    for name, size in SIZES.items():
        if found[:3] == size[:3] and int(width * size.mlp_ratio) == hidden:
            return Encoder.Settings(size=name, patch=patch)  # type: ignore[arg-type]
    return Encoder.Settings(size=None, patch=patch, **found._asdict())


def _predictor(state: StateDict, encoder: Encoder.Settings, where: str) -> Predictor.Settings:
    if "predictor_embed.weight" not in state:
        raise ValueError(f"the predictor of {where} has no predictor_embed.weight: it is not whole")
    width = state["predictor_embed.weight"].shape[0]
    hidden = _hidden(state, "predictor_blocks", where)
    return Predictor.Settings(
        width=width, depth=_depth(state, "predictor_blocks"), mlp_ratio=_ratio(hidden, width)
    )


def _patch(state: StateDict) -> tuple[int, int]:
    rows, columns = state["patch_embed.proj.weight"].shape[-2:]
    return rows, columns


def _depth(state: StateDict, blocks: str) -> int:
    places = [int(name.split(".")[1]) for name in state if name.startswith(f"{blocks}.")]
    return max(places, default=-1) + 1


def _hidden(state: StateDict, blocks: str, where: str) -> int:
    for place in range(_depth(state, blocks)):
        weight: Tensor | None = state.get(f"{blocks}.{place}.mlp.fc1.weight")
        if weight is not None:
            return int(weight.shape[0])
    raise ValueError(f"{where} holds no {blocks}.*.mlp.fc1.weight: it is no whole transformer")


def _ratio(hidden: int, width: int) -> float:
    """Such that `int(width * ratio)` is `hidden` again."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def _num_positions(networks: Mapping[str, StateDict], where: str) -> int:
    for name in NETWORKS:
        for key in ("pos_embed", "predictor_pos_embed"):
            if key in networks.get(name, {}):
                return int(networks[name][key].shape[1])
    raise ValueError(f"{where} holds no positions (pos_embed), so that its size is not known")


def _square_grid(num_positions: int, where: str) -> Grid:
    side = math.isqrt(num_positions)
    if side * side != num_positions:
        raise ValueError(
            f"{where} has {num_positions} positions, which is no square grid: name the file of "
            "settings that it was trained with, e.g. FILE@CONFIG.yaml"
        )
    return side, side
