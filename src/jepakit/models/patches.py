"""From pixels to tokens: the only part of the networks that knows what a picture is."""

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.models.positions import Grid
from jepakit.models.tokens import take_tokens


class PatchEmbedding(nn.Module):
    """A linear map of non-overlapping patches, computed for the chosen patches only.

    The weights live in a convolution, as in every published ViT, but the product is a matrix
    product over gathered patches: hidden patches cost nothing.
    """

    def __init__(self, patch: tuple[int, int], num_channels: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(num_channels, width, kernel_size=patch, stride=patch)

    def grid(self, height: int, width: int) -> Grid:
        """The token grid of a picture of `height` x `width` pixels."""
        return divide(height, width, self.patch)

    def forward(
        self, views: Float[Tensor, "B C H W"], indices: Int[Tensor, "B K"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """Tokens of the patches at `indices` (all, in raster order, without)."""
        self.grid(*views.shape[-2:])
        h, w = self.patch
        patches = rearrange(views, "b c (y h) (x w) -> b (y x) (c h w)", h=h, w=w)
        if indices is not None:
            patches = take_tokens(patches, indices)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


def divide(height: int, width: int, patch: tuple[int, int]) -> Grid:
    """Rows and columns of patches in a picture of so many pixels; `ValueError` with a remainder."""
    if height % patch[0] or width % patch[1]:
        rows, columns = max(1, round(height / patch[0])), max(1, round(width / patch[1]))
        raise ValueError(
            f"a picture of {height} x {width} pixels does not divide into patches of "
            f"{patch[0]} x {patch[1]}: choose a size that is a multiple of the patch, "
            f"e.g. {rows * patch[0]} x {columns * patch[1]}"
        )
    return height // patch[0], width // patch[1]


def as_pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """`16` -> `(16, 16)`: rows first."""
    return (value, value) if isinstance(value, int) else value
