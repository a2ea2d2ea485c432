"""Weights for pictures of another size: their positions resampled once, ahead of time."""

from __future__ import annotations

from dataclasses import replace

from jepakit.models.patches import as_pair
from jepakit.models.positions import resample_positions
from jepakit.pretrained.weights import Weights

_POSITIONS = ("pos_embed", "predictor_pos_embed")


def resized(weights: Weights, size: tuple[int, int]) -> Weights:
    """The same networks for views of this size: they compute what they would by resampling.

    `ValueError` if the size does not divide into patches.
    """
    patch = as_pair(weights.description.encoder.patch)
    if size[0] % patch[0] or size[1] % patch[1]:
        near = [max(1, round(side / unit)) * unit for side, unit in zip(size, patch, strict=True)]
        raise ValueError(
            f"a size of {size[0]} x {size[1]} does not divide into patches of {patch[0]} x "
            f"{patch[1]}: choose {near[0]} x {near[1]}"
        )
    old, new = (
        (side[0] // patch[0], side[1] // patch[1]) for side in (weights.description.size, size)
    )
    networks = {
        network: {
            name: resample_positions(t[0], old, new)[None] if name in _POSITIONS else t
            for name, t in state.items()
        }
        for network, state in weights.networks.items()
    }
    return replace(
        weights,
        networks=networks,
        description=weights.description.model_copy(update={"size": size}),
    )
