"""The narrow transformer that predicts hidden blocks from visible context (paper section 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from jepakit.core import settings as core
from jepakit.models.encoder import Encoder
from jepakit.models.initialisation import STANDARD_DEVIATION, Initialisation, initialise
from jepakit.models.positions import Grid, resample_positions, sine_cosine_positions
from jepakit.models.tokens import take_tokens
from jepakit.models.transformer import Blocks


class Predictor(nn.Module):
    """Context tokens and one mask token per hidden place in; hidden representations out.

    Every (context block, target block) pair is a sequence of its own, so target blocks never see
    each other.
    """

    predictor_pos_embed: Tensor

    class Settings(core.Settings):
        """Width and depth; heads as in the encoder unless given."""

        width: int = Field(384, ge=4, description="paper: 384 for all encoders")
        depth: int = Field(6, ge=1, description="paper: 6 for ViT-B, 12 for L and H, 16 for G")
        num_heads: int | None = Field(None, ge=1, description="null = the encoder's")
        mlp_ratio: float = Field(4.0, gt=0, description="hidden width of the MLP / width")
        initialisation: Initialisation = Field("released", description="how weights start")
        checkpointing: bool = Field(False, description="recompute activations: less memory, slower")

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        super().__init__()
        num_heads = settings.num_heads or encoder.num_heads
        if settings.width % num_heads:
            raise ValueError(
                f"predictor.width={settings.width} does not divide into {num_heads} heads: "
                f"set predictor.num_heads to a divisor of {settings.width}"
            )
        self.settings = settings
        self.grid = encoder.grid
        self.predictor_embed = nn.Linear(encoder.width, settings.width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, settings.width))
        self.register_buffer(
            "predictor_pos_embed", sine_cosine_positions(self.grid, settings.width)[None]
        )
        self.predictor_blocks = Blocks(
            settings.depth, settings.width, num_heads, settings.mlp_ratio, settings.checkpointing
        )
        self.predictor_norm = nn.LayerNorm(settings.width, eps=1e-6)
        self.predictor_proj = nn.Linear(settings.width, encoder.width)
        initialise(self, settings.initialisation)
        nn.init.trunc_normal_(self.mask_token, std=STANDARD_DEVIATION)

    def forward(
        self,
        context: Float[Tensor, "B J K D"],
        context_indices: Int[Tensor, "B J K"],
        target_indices: Int[Tensor, "B M L"],
        grid: Grid | None = None,
    ) -> Float[Tensor, "B J M L D"]:
        """Predicted representations of each target block from each context block.

        `grid` is the grid that the indices speak of; the training grid without.
        """
        num_images, num_contexts, num_kept = context_indices.shape
        num_targets = target_indices.shape[1]
        table = self.positions(grid or self.grid).expand(num_images, -1, -1)

        visible = self.predictor_embed(context) + take_tokens(table, context_indices)  # B J K P
        hidden = self.mask_token + take_tokens(table, target_indices)  # B M L P
        pairs = (num_images, num_contexts, num_targets)
        sequences = torch.cat(
            [
                visible[:, :, None].expand(*pairs, -1, -1),
                hidden[:, None].expand(*pairs, -1, -1).to(visible.dtype),
            ],
            dim=3,
        )  # B J M K+L P
        tokens = self.predictor_blocks(sequences.flatten(0, 2))
        hidden_tokens = self.predictor_norm(tokens[:, num_kept:]).unflatten(0, pairs)
        return self.predictor_proj(hidden_tokens)  # a fresh tensor: FSDP2 minds views

    def positions(self, grid: Grid) -> Float[Tensor, "1 N P"]:
        """The position codes for a grid, resampled where it is not the training grid."""
        return resample_positions(self.predictor_pos_embed[0], self.grid, grid)[None]
