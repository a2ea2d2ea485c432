"""What can be evaluated: any network that turns pictures into the tokens of its last layers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """A vision transformer of ours or of anybody's, as evaluations see it."""

    width: int
    depth: int
    num_channels: int

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
