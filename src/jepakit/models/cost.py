"""What a step costs: floating-point operations and memory, from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class StepFlops:
    """Operations per picture, 2 per multiply-add, matrix products only; backward = 2 x forward."""

    target_encoder: float
    context_encoder: float
    predictor: float

    @property
    def total(self) -> float:
        """All of a step's operations per picture."""
        return self.target_encoder + self.context_encoder + self.predictor


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


def activation_bytes(
    encoder: Encoder, predictor: Predictor, counts: TokenCounts, bytes_per_number: int
) -> float:
    """Rough bytes per picture that the backward pass needs; attention matrices are not stored.

    A pre-norm block keeps about 14 + 2 mlp_ratio numbers per token and width; with checkpointing
    only its input, and one block in full. Measured peaks lie within about 30 %.
    """
    size, narrow = encoder.settings.resolved(), predictor.settings

    def stack(tokens: int, width: int, depth: int, ratio: float, checkpointing: bool) -> float:
        full = tokens * width * (14 + 2 * ratio)
        return depth * tokens * width + full if checkpointing else depth * full

    length = counts.context + counts.target
    stored = counts.contexts * (
        stack(
            counts.context, size.width, size.depth, size.mlp_ratio, encoder.settings.checkpointing
        )
        + counts.targets
        * stack(length, narrow.width, narrow.depth, narrow.mlp_ratio, narrow.checkpointing)
    )
    passing = counts.grid * size.width * (4 + 2 * size.mlp_ratio)
    return (stored + passing) * bytes_per_number


def state_bytes(encoder: Encoder, predictor: Predictor) -> int:
    """Bytes of parameters, gradients, AdamW's two moments and the target encoder, all fp32."""
    encoder_size = sum(p.numel() for p in encoder.parameters())
    predictor_size = sum(p.numel() for p in predictor.parameters())
    return 4 * (4 * (encoder_size + predictor_size) + encoder_size)
