"""What travels between the parts: a batch and its masks, and the legend of axis letters.

B images          C H W channels and pixels    V views            F frames
N tokens of the full grid                      K context tokens kept
J context blocks  M target blocks              L tokens per target block
D encoder width   P predictor width            A heads            E width per head
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class MaskIndices:
    """Which tokens are context and which are targets; indices into the raster-ordered grid."""

    context: Int[Tensor, "B J K"]
    targets: Int[Tensor, "B M L"]

    def to(self, device: torch.device | str) -> MaskIndices:
        """The same masks on another device."""
        return MaskIndices(
            self.context.to(device, non_blocking=True), self.targets.to(device, non_blocking=True)
        )

    def pin_memory(self) -> MaskIndices:
        """The same masks in page-locked memory (called by the data loader)."""
        return MaskIndices(self.context.pin_memory(), self.targets.pin_memory())


@dataclass(frozen=True)
class Batch:
    """One micro-batch. `views` is uint8 as loaded and float32, normalised, once on the device.

    Where the pictures stay on the device, `views` is loaded as plans: boxes and flips.

    `labels` is -1 where a picture has none. `indices` are the pictures' places in the source.
    """

    views: Float[Tensor, "B C H W"] | UInt8[Tensor, "B C H W"] | Int[Tensor, "B 5"]
    masks: MaskIndices
    labels: Int[Tensor, " B"]
    indices: Int[Tensor, " B"]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return replace(
            self,
            views=self.views.to(device, non_blocking=True),
            masks=self.masks.to(device),
            labels=self.labels.to(device, non_blocking=True),
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (called by the data loader)."""
        return replace(
            self,
            views=self.views.pin_memory(),
            masks=self.masks.pin_memory(),
            labels=self.labels.pin_memory(),
        )
