"""What tokens say about a picture: its foreground, what resembles a patch, and segments."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from jepakit.core.randomness import generator
from jepakit.masking.masking import Grid

_NUM_ROUNDS = 30  # of k-means; it settles in fewer


def foreground_scores(tokens: Float[Tensor, "B N D"], grid: Grid) -> Float[Tensor, "B N"]:
    """The first principal component of all tokens, turned so that picture borders are low.

    What varies most between patches is usually thing against background (Oquab et al. 2023), and
    background is what touches the borders.
    """
    flat = (tokens - tokens.mean(dim=(0, 1))).flatten(0, 1).double().cpu()
    _, directions = torch.linalg.eigh(flat.T @ flat)
    scores = (flat @ directions[:, -1]).view(tokens.shape[:2])
    border = torch.ones(grid, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    flat_border = border.flatten()
    if not flat_border.all() and scores[:, flat_border].mean() > scores[:, ~flat_border].mean():
        scores = -scores
    return scores.float()


def separate(scores: Float[Tensor, "B N"]) -> Bool[Tensor, "B N"]:
    """Which scores are high: parted where the two parts differ most (Otsu 1979)."""
    ordered = scores.flatten().double().sort().values
    count = torch.arange(1, len(ordered), dtype=torch.double)
    below = ordered.cumsum(0)[:-1] / count
    above = (ordered.sum() - ordered.cumsum(0)[:-1]) / (len(ordered) - count)
    apart = count * (len(ordered) - count) * (above - below).square()
    cut = int(apart.argmax())
    return scores.double() > (ordered[cut] + ordered[cut + 1]) / 2


def similarities(
    tokens: Float[Tensor, "B N D"], patches: Int[Tensor, " B"]
) -> Float[Tensor, "B N"]:
    """The cosine of each picture's patch with all patches of the same picture."""
    directions = F.normalize(tokens, dim=-1)
    chosen = directions[torch.arange(len(tokens), device=tokens.device), patches.to(tokens.device)]
    return (directions * chosen[:, None]).sum(dim=-1)


def segments(
    tokens: Float[Tensor, "B N D"], num_segments: int, seed: int = 0
) -> Int[np.ndarray, "B N"]:
    """k-means over the tokens of all pictures together; segments are numbered by size.

    Tokens are compared by direction. Centres begin far apart (k-means++).
    """
    flat = F.normalize(tokens, dim=-1).flatten(0, 1).double().cpu()
    centres = _first_centres(flat, num_segments, generator(seed, "segments"))
    nearest = torch.cdist(flat, centres).argmin(dim=1)
    for _ in range(_NUM_ROUNDS):
        members = F.one_hot(nearest, len(centres)).double()
        sizes = members.sum(dim=0)
        moved = (members.T @ flat) / sizes.clamp_min(1)[:, None]
        centres = torch.where(sizes[:, None] > 0, moved, centres)
        before, nearest = nearest, torch.cdist(flat, centres).argmin(dim=1)
        if torch.equal(before, nearest):
            break
    order = torch.bincount(nearest, minlength=len(centres)).argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    return rank[nearest].view(tokens.shape[:2]).numpy()


def _first_centres(flat: Tensor, num: int, random: np.random.Generator) -> Tensor:
    chosen = [int(random.integers(len(flat)))]
    for _ in range(min(num, len(flat)) - 1):
        away = torch.cdist(flat, flat[chosen]).amin(dim=1).square()
        edges = away.cumsum(0)
        drawn = torch.searchsorted(edges, torch.tensor(random.random()).double() * edges[-1])
        chosen.append(min(int(drawn), len(flat) - 1))
    return flat[chosen].clone()
