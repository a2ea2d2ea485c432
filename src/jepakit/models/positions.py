"""Fixed two-dimensional sine-cosine positions, for any grid (paper appendix A.1)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Grid = tuple[int, int]


def sine_cosine_positions(grid: Grid, width: int) -> Float[Tensor, "N D"]:
    """Position codes of a grid in raster order, float32.

    The first half of the width encodes the column, the second half the row; each half is sines
    then cosines at frequencies 10000^(-i / (D/4)).
    """
    if width % 4:
        raise ValueError(f"a width of {width} cannot hold 2-D positions: choose a multiple of 4")
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64),
        torch.arange(grid[1], dtype=torch.float64),
        indexing="ij",
    )
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    halves = []
    for coordinate in (columns, rows):
        angles = coordinate.reshape(-1, 1) * frequencies
        halves += [angles.sin(), angles.cos()]
    return torch.cat(halves, dim=1).float()


def resample_positions(
    positions: Float[Tensor, "N D"], old: Grid, new: Grid
) -> Float[Tensor, "N2 D"]:
    """Bicubic resampling of a grid's position codes to another grid."""
    if old == new:
        return positions
    plane = positions.T.reshape(1, -1, *old)
    return F.interpolate(plane, size=new, mode="bicubic", align_corners=False).flatten(2)[0].T
