"""Watches which places of the grid the masks show to the context encoder."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from jepakit.core import settings as core
from jepakit.training.monitors.monitor import Monitor, Snapshot

# Below this many pictures a row may be missing by chance.
_ENOUGH_PICTURES = 256


def presence(indices: Int[Tensor, "B M L"], num_tokens: int) -> Float[Tensor, " N"]:
    """Share of the pictures in which each token is in at least one of the index sets."""
    marks = torch.zeros(len(indices), num_tokens, device=indices.device)
    return marks.scatter_(1, indices.flatten(1), 1.0).mean(dim=0)


class Masks(Monitor):
    """How often each row and column of the grid is context, over all batches seen so far.

    Sizes are drawn once per step, so a single batch would say little.
    """

    class Settings(core.Settings):
        """When to look."""

        every: int = Field(50, ge=0, description="steps between two looks; 0 = off")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.every = settings.every
        self._context: Tensor | None = None  # N, summed over pictures
        self._targets: Tensor | None = None
        self._num_pictures = 0

    def observe(self, snapshot: Snapshot) -> dict[str, float]:
        """Shares of tokens that are context and target; of context in the rarest row, ..."""
        grid = self._add(snapshot)
        assert self._context is not None
        assert self._targets is not None
        context = (self._context / self._num_pictures).view(grid)
        rows, columns = context.mean(dim=1), context.mean(dim=0)
        return {
            "masks/context_share": context.mean().item(),
            "masks/target_share": self._targets.mean().item() / self._num_pictures,
            "masks/context_row_min": rows.min().item(),
            "masks/context_row_max": rows.max().item(),
            "masks/context_column_min": columns.min().item(),
            "masks/context_column_max": columns.max().item(),
        }

    def _add(self, snapshot: Snapshot) -> tuple[int, int]:
        """Count this batch in; pictures of another size start anew. Returns the grid."""
        masks, num_pictures = snapshot.batch.masks, len(snapshot.batch.views)
        encoder = snapshot.objective.kept_encoder()
        grid = encoder.patch_embed.grid(*snapshot.batch.views.shape[-2:])
        num_tokens = grid[0] * grid[1]
        context = presence(masks.context, num_tokens).cpu() * num_pictures
        targets = presence(masks.targets, num_tokens).cpu() * num_pictures
        if self._context is None or self._targets is None or len(self._context) != num_tokens:
            self._context, self._targets = torch.zeros(num_tokens), torch.zeros(num_tokens)
            self._num_pictures = 0
        self._context += context
        self._targets += targets
        self._num_pictures += num_pictures
        return grid

    def warnings(self, numbers: Mapping[str, float]) -> list[str]:
        """Speaks when a whole row or column is next to never context."""
        if self._num_pictures < _ENOUGH_PICTURES:
            return []
        return [
            f"The masks show one {line} of the grid to the context encoder in only "
            f"{100 * numbers[f'masks/context_{line}_min']:.1f} % of the pictures: nothing is "
            "learned from it. What usually helps: masking.kind=multiblock."
            for line in ("row", "column")
            if numbers[f"masks/context_{line}_min"] < 0.01
        ]
