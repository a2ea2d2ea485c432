"""The named sizes of encoders (paper appendix A.1; ViT-gigantic after Zhai et al. 2022)."""

from typing import Literal, NamedTuple

SizeName = Literal[
    "vit_tiny", "vit_small", "vit_base", "vit_large", "vit_huge", "vit_giant", "vit_gigantic"
]


class Size(NamedTuple):
    """Width and depth of a transformer."""

    width: int
    depth: int
    num_heads: int
    mlp_ratio: float


SIZES: dict[str, Size] = {
    "vit_tiny": Size(192, 12, 3, 4.0),
    "vit_small": Size(384, 12, 6, 4.0),
    "vit_base": Size(768, 12, 12, 4.0),
    "vit_large": Size(1024, 24, 16, 4.0),
    "vit_huge": Size(1280, 32, 16, 4.0),
    "vit_giant": Size(1408, 40, 16, 48 / 11),
    "vit_gigantic": Size(1664, 48, 16, 64 / 13),
}
