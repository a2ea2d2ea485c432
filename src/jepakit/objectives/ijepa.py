"""I-JEPA: predict representations of hidden blocks from the visible context (paper section 3)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from jepakit.core import settings as core
from jepakit.core.ema import follow
from jepakit.core.schedules import linear
from jepakit.core.tensors import Batch, MaskIndices
from jepakit.models.encoder import Encoder
from jepakit.models.predictor import Predictor
from jepakit.models.tokens import take_tokens
from jepakit.objectives.objective import Objective, StepOutput
from jepakit.objectives.regularisers import RegulariserSettings, regulariser

DISTANCES: dict[str, Callable[..., Tensor]] = {
    "smooth_l1": F.smooth_l1_loss,
    "l2": F.mse_loss,
    "l1": F.l1_loss,
}


class IJepa(Objective):
    """A context encoder and a predictor learn; a target encoder follows the context encoder."""

    class Settings(core.Settings):
        """The distance, how the target encoder follows, and a term against collapse."""

        kind: Literal["ijepa"] = "ijepa"
        loss: Literal["smooth_l1", "l2", "l1"] = Field(
            "smooth_l1", description="distance between prediction and target"
        )
        ema: tuple[float, float] = Field((0.996, 1.0), description="coefficient: first, last step")
        ema_cap: float = Field(1.0, gt=0, le=1, description="the coefficient never exceeds this")
        regulariser: RegulariserSettings = RegulariserSettings()

    def __init__(self, settings: Settings, encoder: Encoder, predictor: Predictor) -> None:
        super().__init__()
        if not 0 <= min(settings.ema) <= max(settings.ema) <= 1:
            raise ValueError(f"objective.ema={list(settings.ema)} must lie in [0, 1]")
        self.settings = settings
        self.context_encoder = encoder
        self.predictor = predictor
        self.target_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.target_encoder.blocks.checkpointing = False  # nothing to recompute without gradient
        self.distance = DISTANCES[settings.loss]
        self.regulariser = regulariser(settings.regulariser)

    def forward(self, batch: Batch) -> StepOutput:
        """Mean distance between predicted and target representations of the hidden blocks."""
        targets = take_tokens(self.targets(batch.views), batch.masks.targets)  # B M L D
        context = self.encode_context(batch.views, batch.masks)  # B J K D
        predicted = self.predict_from(context, batch)  # B J M L D

        distances = self.distance(
            predicted.float(), targets[:, None].expand_as(predicted), reduction="none"
        )
        per_block = distances.mean(dim=(0, 1, 3, 4))  # M
        loss = per_block.mean()
        logs = {f"loss/block_{m}": value for m, value in enumerate(per_block.detach().unbind())}
        if self.regulariser is not None:
            term = self.regulariser(context.mean(dim=2).flatten(0, 1))
            logs |= {"loss/prediction": loss.detach(), "loss/regulariser": term.detach()}
            loss = loss + self.settings.regulariser.weight * term
        return StepOutput(loss, logs)

    @torch.no_grad()
    def targets(self, views: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        """Target representations of the whole picture, LayerNorm-ed over the width."""
        tokens = self.target_encoder(views).float()
        return F.layer_norm(tokens, tokens.shape[-1:])

    def encode_context(
        self, views: Float[Tensor, "B C H W"], masks: MaskIndices
    ) -> Float[Tensor, "B J K D"]:
        """Each context block encoded by itself: the encoder sees nothing else."""
        num_contexts = masks.context.shape[1]
        tokens = self.context_encoder(
            views.repeat_interleave(num_contexts, dim=0) if num_contexts > 1 else views,
            masks.context.flatten(0, 1),
        )
        return tokens.unflatten(0, (-1, num_contexts))

    def predict_from(self, context: Float[Tensor, "B J K D"], batch: Batch) -> Tensor:
        """What the predictor expects in each target block, from each encoded context block."""
        grid = self.context_encoder.patch_embed.grid(*batch.views.shape[-2:])
        return self.predictor(context, batch.masks.context, batch.masks.targets, grid)

    def predict(self, batch: Batch) -> Float[Tensor, "B J M L D"]:
        """The predicted representations of a batch's target blocks."""
        return self.predict_from(self.encode_context(batch.views, batch.masks), batch)

    def update_targets(self, progress: float) -> None:
        """One step of the moving average; the coefficient grows linearly up to the cap."""
        follow(self.target_encoder, self.context_encoder, self.coefficient(progress))

    def coefficient(self, progress: float) -> float:
        """The moving average's coefficient at this progress."""
        return min(linear(progress, *self.settings.ema), self.settings.ema_cap)

    def kept_encoder(self) -> Encoder:
        """The target encoder, as in the paper."""
        return self.target_encoder
