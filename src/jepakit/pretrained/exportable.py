"""An encoder as one graph from pixels to features, for formats that hold graphs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.models import Encoder

INPUT, OUTPUTS = "pixel_values", ("last_hidden_state", "pooled")
_MOST_PICTURES, _MOST_PATCHES = 65536, 1024  # per batch; per row and column of a grid


class Exportable(nn.Module):
    """Normalised pictures of any size that divides into patches -> tokens and their mean.

    The positions are resampled within the graph, which at the training size changes no bit.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixel_values: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """Tokens B N D and pooled features B D."""
        encoder = self.encoder
        patches = encoder.patch_embed.proj(pixel_values)
        plane = encoder.pos_embed[0].T.reshape(1, -1, *encoder.grid)
        size = (patches.shape[-2], patches.shape[-1])
        positions = F.interpolate(plane, size=size, mode="bicubic", align_corners=False)
        tokens = (patches + positions).flatten(2).transpose(1, 2)
        tokens = encoder.norm(encoder.blocks(tokens))
        return tokens, tokens.mean(dim=1)


def exported_program(encoder: Encoder) -> torch.export.ExportedProgram:
    """The graph, with the number of pictures and the size of the grid left open."""
    rows, columns = encoder.patch_embed.patch
    dimension = torch.export.Dim
    shapes = {
        0: dimension("batch", min=1, max=_MOST_PICTURES),
        2: rows * dimension("rows", min=1, max=_MOST_PATCHES),
        3: columns * dimension("columns", min=1, max=_MOST_PATCHES),
    }
    # Neither 1 nor equal sides, or the exporter would take them for constants.
    example = torch.zeros(2, encoder.num_channels, 3 * rows, 2 * columns)
    model = Exportable(encoder).eval()
    return torch.export.export(model, (example,), dynamic_shapes={INPUT: shapes})
