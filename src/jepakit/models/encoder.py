"""The vision transformer that turns patches into representations (paper section 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from jepakit.core import settings as core
from jepakit.models.backbone import Backbone
from jepakit.models.initialisation import Initialisation, initialise
from jepakit.models.patches import PatchEmbedding, as_pair
from jepakit.models.positions import Grid, resample_positions, sine_cosine_positions
from jepakit.models.sizes import SIZES, Size, SizeName
from jepakit.models.tokens import take_tokens
from jepakit.models.transformer import Blocks


class Encoder(Backbone):
    """A ViT without class token. Given indices, it computes and sees only those patches."""

    pos_embed: Tensor

    class Settings(core.Settings):
        """A named size, or any width, depth and number of heads."""

        size: SizeName | None = Field("vit_small", description="named size; null = use the rest")
        width: int | None = Field(None, ge=4, description="overrides the size's width")
        depth: int | None = Field(None, ge=1, description="overrides the size's depth")
        num_heads: int | None = Field(None, ge=1, description="overrides the size's heads")
        mlp_ratio: float | None = Field(None, gt=0, description="hidden width of the MLP / width")
        patch: int | tuple[int, int] = Field(16, description="side of a patch, or (height, width)")
        initialisation: Initialisation = Field("released", description="how weights start")
        checkpointing: bool = Field(False, description="recompute activations: less memory, slower")

        @model_validator(mode="after")
        def _complete(self) -> Encoder.Settings:
            self.resolved()
            if min(as_pair(self.patch)) < 1:
                raise ValueError("patch must be at least 1 pixel")
            return self

        def resolved(self) -> Size:
            """The size with the overrides applied."""
            named = SIZES[self.size] if self.size else None
            given = (self.width, self.depth, self.num_heads, self.mlp_ratio)
            standard = named or (None, None, None, 4.0)
            chosen = [g if g is not None else s for g, s in zip(given, standard, strict=True)]
            if None in chosen:
                raise ValueError("without a named size give width, depth and num_heads")
            size = Size(*chosen)  # type: ignore[arg-type]
            if size.width % size.num_heads or size.width % 4:
                raise ValueError(
                    f"a width of {size.width} must be a multiple of 4 and of num_heads"
                    f"={size.num_heads}"
                )
            return size

    def __init__(self, settings: Settings, num_channels: int, picture: tuple[int, int]) -> None:
        super().__init__()
        size = settings.resolved()
        self.settings = settings
        self.num_channels = num_channels
        self.width, self.depth = size.width, size.depth
        self.num_heads = size.num_heads
        self.patch = as_pair(settings.patch)
        self.patch_embed = PatchEmbedding(self.patch, num_channels, size.width)
        self.picture = picture
        self.grid = self.patch_embed.grid(*picture)
        self.register_buffer("pos_embed", sine_cosine_positions(self.grid, size.width)[None])
        self.blocks = Blocks(
            size.depth, size.width, size.num_heads, size.mlp_ratio, settings.checkpointing
        )
        self.norm = nn.LayerNorm(size.width, eps=1e-6)
        initialise(self, settings.initialisation)

    def forward(
        self, views: Float[Tensor, "B C H W"], indices: Int[Tensor, "B K"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """Representations of the patches at `indices` (of all N without), normed."""
        return self.norm(self.blocks(self.embed(views, indices)))

    def embed(
        self, views: Float[Tensor, "B C H W"], indices: Int[Tensor, "B K"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """Patches with their positions, before the first block."""
        positions = self.positions(self.patch_embed.grid(*views.shape[-2:]))
        if indices is not None:
            positions = take_tokens(positions.expand(len(views), -1, -1), indices)
        return self.patch_embed(views, indices) + positions

    def positions(self, grid: Grid) -> Float[Tensor, "1 N D"]:
        """The position codes for a grid, resampled where it is not the training grid."""
        return resample_positions(self.pos_embed[0], self.grid, grid)[None]

    def last_layers(self, views: Float[Tensor, "B C H W"], num_layers: int) -> list[Tensor]:
        """Token representations B N D of the last layers; the very last one is normed."""
        layers = self.blocks.last_layers(self.embed(views), num_layers)
        return [*layers[:-1], self.norm(layers[-1])]

    def parameters_by_depth(self) -> list[list[nn.Parameter]]:
        """Patch embedding, each block, the final norm."""
        parts = [self.patch_embed, *self.blocks, self.norm]
        return [list(part.parameters()) for part in parts]

    @torch.no_grad()
    def pooled(self, views: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """One average-pooled representation per picture, as the paper evaluates it."""
        return self(views).float().mean(dim=1)
