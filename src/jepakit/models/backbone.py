"""What can be evaluated: any network that turns pictures into the tokens of its last layers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from jepakit.models.patches import divide
from jepakit.models.positions import Grid


class Backbone(nn.Module, ABC):
    """A vision transformer of ours or of anybody's, as evaluations see it."""

    width: int
    depth: int
    num_channels: int
    patch: tuple[int, int]  # height and width in pixels

    def rows_and_columns(self, height: int, width: int) -> Grid:
        """The patches of a picture in pixels; `ValueError` where it does not divide into them."""
        return divide(height, width, self.patch)

    @abstractmethod
    def last_layers(self, views: Float[Tensor, "B C H W"], num_layers: int) -> list[Tensor]:
        """Patch tokens B N D after each of the last layers, in order; the very last one is normed.

        All layers, if there are fewer than `num_layers`.
        """

    @abstractmethod
    def parameters_by_depth(self) -> list[list[nn.Parameter]]:
        """Its parameters from the input to the output: embeddings, each block, the final norm.

        `depth` + 2 lists; for learning rates that decay with depth.
        """
