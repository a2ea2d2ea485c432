"""What a step costs in floating-point operations, from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass

from jepakit.core.tensors import MaskIndices
from jepakit.models.encoder import Encoder
from jepakit.models.predictor import Predictor


@dataclass(frozen=True)
class TokenCounts:
    """How many tokens the networks see per picture."""

    grid: int  # N
    contexts: int  # J
    context: int  # K
    targets: int  # M
    target: int  # L

    @classmethod
    def of(cls, masks: MaskIndices, grid: tuple[int, int]) -> TokenCounts:
        """Those of one step."""
        (_, contexts, context), (_, targets, target) = masks.context.shape, masks.targets.shape
        return cls(grid[0] * grid[1], contexts, context, targets, target)


@dataclass(frozen=True)
class StepFlops:
    """Operations per picture, 2 per multiply-add, matrix products only; backward = 2 x forward."""

    target_encoder: float
    context_encoder: float
    predictor: float
    decoder: float = 0.0  # of pixels, forward and backward, with what it is told by frozen networks

    @property
    def total(self) -> float:
        """All of a step's operations per picture."""
        return self.target_encoder + self.context_encoder + self.predictor + self.decoder


def transformer_flops(tokens: int, width: int, depth: int, mlp_ratio: float) -> float:
    """Forward operations of a stack of blocks over one sequence."""
    linear = 2 * tokens * width * width * (4 + 2 * mlp_ratio)
    attention = 2 * 2 * tokens * tokens * width
    return depth * (linear + attention)


def step_flops(encoder: Encoder, predictor: Predictor, counts: TokenCounts) -> StepFlops:
    """Operations of one training step per picture."""
    size, narrow = encoder.settings.resolved(), predictor.settings
    pixels = encoder.patch_embed.proj.weight[0].numel()

    def encode(tokens: int) -> float:
        patches = 2 * tokens * pixels * size.width
        return patches + transformer_flops(tokens, size.width, size.depth, size.mlp_ratio)

    length = counts.context + counts.target
    one_block = transformer_flops(length, narrow.width, narrow.depth, narrow.mlp_ratio)
    projections = 2 * size.width * narrow.width
    predict = counts.targets * (one_block + projections * counts.target)
    predict += projections * counts.context
    return StepFlops(
        target_encoder=encode(counts.grid),
        context_encoder=3 * counts.contexts * encode(counts.context),
        predictor=3 * counts.contexts * predict,
    )
