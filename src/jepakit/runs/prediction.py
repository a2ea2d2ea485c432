"""What a predictor expects in a hidden part of pictures, and how far that is from what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from jepakit.data.sources.source import Box
from jepakit.models import Encoder, Predictor
from jepakit.models.positions import Grid
from jepakit.models.tokens import take_tokens
from jepakit.objectives.ijepa import DISTANCES
from jepakit.runs.loaded import Loaded

Seen = Sequence[int] | np.ndarray | Tensor  # a box in pixels, or a boolean per patch


@dataclass(frozen=True)
class Prediction:
    """Of the hidden box of every picture: its rows x columns of patches."""

    predicted: Float[np.ndarray, "B rows columns D"]
    truth: Float[np.ndarray, "B rows columns D"]  # LayerNorm-ed, as in training
    energy: Float[np.ndarray, "B rows columns"]  # distance of the two, averaged over D

    @property
    def mean(self) -> Float[np.ndarray, " B"]:
        """The energy of each picture."""
        return self.energy.mean(axis=(1, 2))

    @staticmethod
    def together(parts: Sequence[Prediction]) -> Prediction:
        """The predictions of several batches as one."""
        names = ("predicted", "truth", "energy")
        return Prediction(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def predict(
    loaded: Loaded,
    inputs: Float[Tensor, "B C H W"],
    target: Sequence[int],
    context: Seen | None,
    distance: str,
) -> Prediction:
    """Encode what is seen of normalised views, predict the target box, compare with the truth."""
    context_encoder, target_encoder, predictor = _networks(loaded)
    grid = target_encoder.rows_and_columns(*inputs.shape[-2:])
    hidden = patches_in(target, target_encoder.patch, grid, "target")
    seen = ~hidden if context is None else _seen(context, target_encoder.patch, grid)
    _check_apart(seen, hidden)
    context_indices, target_indices = (
        torch.from_numpy(np.flatnonzero(mask)).to(inputs.device).expand(len(inputs), -1)
        for mask in (seen, hidden)
    )
    visible = context_encoder(inputs, context_indices)[:, None]
    predicted = predictor(visible, context_indices[:, None], target_indices[:, None], grid)
    truth = take_tokens(target_encoder(inputs).float(), target_indices)
    truth = F.layer_norm(truth, truth.shape[-1:])
    predicted = predicted[:, 0, 0].float()
    energy = DISTANCES[distance](predicted, truth, reduction="none").mean(dim=-1)
    box = (np.ptp(np.flatnonzero(hidden.any(1))) + 1, np.ptp(np.flatnonzero(hidden.any(0))) + 1)
    return Prediction(
        *(part.unflatten(1, box).cpu().numpy() for part in (predicted, truth, energy))
    )


def check_can_predict(loaded: Loaded) -> None:
    """`ValueError` if a network is lacking."""
    _networks(loaded)


def _networks(loaded: Loaded) -> tuple[Encoder, Encoder, Predictor]:
    context, target, predictor = loaded.context_encoder, loaded.target_encoder, loaded.predictor
    if context is None or target is None or predictor is None:
        lacking = "predictor" if predictor is None else "context encoder and target encoder"
        raise ValueError(
            f"{loaded.name} holds no {lacking}: to predict, load a run folder or a .pth.tar file, "
            "which hold all three networks"
        )
    return context, target, predictor


def patches_in(
    box: Sequence[int], patch: tuple[int, int], grid: Grid, name: str
) -> Bool[np.ndarray, "rows columns"]:
    """The patches that a box (top, left, height, width) in pixels covers; all of each, or none."""
    if len(box) != 4 or not all(isinstance(number, int | np.integer) for number in box):
        raise ValueError(f"{name}={box} is no box: give (top, left, height, width) in whole pixels")
    top, left, height, width = (int(number) for number in box)
    picture, patches = (grid[0] * patch[0], grid[1] * patch[1]), f"{patch[0]} x {patch[1]} pixels"
    told = f"{name}=({top}, {left}, {height}, {width}), that is (top, left, height, width),"
    if height < patch[0] or width < patch[1]:
        raise ValueError(f"{told} is smaller than a patch of {patches}: make it larger")
    if min(top, left) < 0 or top + height > picture[0] or left + width > picture[1]:
        raise ValueError(f"{told} reaches outside of {picture[0]} x {picture[1]} pixels: move it")
    if top % patch[0] or height % patch[0] or left % patch[1] or width % patch[1]:
        nearest = _aligned((top, left, height, width), patch)
        raise ValueError(f"{told} cuts patches of {patches} apart: give e.g. {nearest}")
    covered = np.zeros(grid, bool)
    rows = slice(top // patch[0], (top + height) // patch[0])
    covered[rows, left // patch[1] : (left + width) // patch[1]] = True
    return covered


def _aligned(box: Box, patch: tuple[int, int]) -> Box:
    """All patches that the box touches, as a box."""
    top, left = box[0] // patch[0] * patch[0], box[1] // patch[1] * patch[1]
    bottom = -(-(box[0] + box[2]) // patch[0]) * patch[0]
    right = -(-(box[1] + box[3]) // patch[1]) * patch[1]
    return top, left, bottom - top, right - left


def _seen(context: Seen, patch: tuple[int, int], grid: Grid) -> Bool[np.ndarray, "rows columns"]:
    mask = context.cpu().numpy() if isinstance(context, Tensor) else np.asarray(context)
    if mask.ndim == 1:
        return patches_in(mask.tolist(), patch, grid, "context")
    if mask.dtype != bool or mask.shape != grid:
        raise ValueError(
            f"the context is an array of {mask.dtype} and shape {list(mask.shape)}: give booleans "
            f"of shape {list(grid)}, one per patch, True = seen; or a box in pixels"
        )
    return mask


def _check_apart(seen: np.ndarray, hidden: np.ndarray) -> None:
    if not seen.any():
        raise ValueError("the context holds no patch: leave something to be seen")
    if both := int((seen & hidden).sum()):
        raise ValueError(
            f"{both} patches are in the context and in the target, so there is nothing to predict: "
            "take them out of one of the two"
        )
