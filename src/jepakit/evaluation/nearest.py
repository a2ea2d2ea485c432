"""The nearest rows of a set by cosine: with faiss where it is installed, else exactly by itself."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

Engine = Literal["auto", "faiss", "exact"]
_BLOCK = 2**16  # rows that are compared at once


@dataclass(frozen=True)
class Neighbours:
    """Of each query, the nearest first."""

    places: Int[Tensor, "Q K"]  # in the set
    cosines: Float[Tensor, "Q K"]


def nearest(
    rows: Float[Tensor, "N D"],
    queries: Float[Tensor, "Q D"],
    num: int,
    engine: Engine = "auto",
) -> Neighbours:
    """The `num` nearest rows (fewer, where there are not so many) of each query; both are exact.

    Rows that are not finite are never found. Raises `ValueError` if there is nothing to find, or
    faiss is asked for and not installed.
    """
    finite = torch.isfinite(rows).all(dim=1)
    num = min(num, int(finite.sum()))
    if num < 1:
        raise ValueError("there is nothing to find: no picture has features")
    if engine == "faiss" or (engine == "auto" and find_spec("faiss")):
        cosines, places = _by_faiss(rows[finite], queries, num)
    else:
        cosines, places = _by_blocks(rows[finite], queries, num)
    return Neighbours(finite.nonzero().flatten()[places], cosines)


def _by_blocks(rows: Tensor, queries: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """(cosines, places): the best of each block, and then the best of those."""
    directions = F.normalize(queries, dim=1)
    found = []
    for first in range(0, len(rows), _BLOCK):
        block = F.normalize(rows[first : first + _BLOCK], dim=1)
        best = (directions @ block.T).topk(min(num, len(block)), dim=1)
        found.append((best.values, best.indices + first))
    cosines = torch.cat([values for values, _ in found], dim=1)
    best = cosines.topk(num, dim=1)
    places = torch.cat([places for _, places in found], dim=1)
    return best.values, places.gather(1, best.indices)


def _by_faiss(rows: Tensor, queries: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """(cosines, places) from a flat index, which is exact."""
    faiss = _faiss()
    index = faiss.IndexFlatIP(rows.shape[1])
    for block in rows.split(_BLOCK):
        index.add(F.normalize(block, dim=1).numpy())
    cosines, places = index.search(F.normalize(queries, dim=1).numpy(), num)
    return torch.from_numpy(cosines), torch.from_numpy(places)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ValueError("engine=faiss needs the package faiss: pip install faiss-cpu") from None
    return faiss
