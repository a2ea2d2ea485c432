"""The contract of mask samplers: from a grid to which tokens are context and which are targets."""

from abc import ABC, abstractmethod

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import MaskIndices

Grid = tuple[int, int]  # rows, columns


class Masking(ABC):
    """Draws the masks of a batch for one grid. The constructor stores; calling draws.

    Sizes (K, L) come from `random.shared`, so that all slices of a step, on all processes, have
    the same shapes; places come from `random.uniforms`, one row per sample. Indices are int64,
    ascending, into the raster-ordered grid; context and targets are disjoint unless a setting
    allows overlap. Grids that are too small to hold a mask raise `ValueError` at construction.
    """

    def __init__(self, settings: object, grid: Grid) -> None:
        self.settings = settings
        self.grid = grid

    @abstractmethod
    def __call__(self, batch_size: int, random: BatchRandom) -> MaskIndices:
        """Masks for `batch_size` samples whose global positions start at `random.first`."""
