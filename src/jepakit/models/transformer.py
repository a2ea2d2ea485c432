"""The pre-norm transformer that encoder and predictor share."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Attention(nn.Module):
    """Multi-head self-attention over all tokens of a sequence."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"a width of {width} does not divide into {num_heads} heads")
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Each token's mixture of all tokens."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))  # B N 3 A E
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # B A N E
        mixed = attend(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Float[Tensor, "B A N E"]:
    """Scaled-dot-product attention, by whichever way is faster on the device.

    The fused kernel of CPUs is two to four times slower in bf16 than its three parts one by one
    (docs/decisions/0003-attention-on-cpus.md); everywhere else the fused one wins.
    """
    if not attends_fused(query.device, query.dtype):
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        return torch.softmax(scores, dim=-1, dtype=torch.bfloat16) @ value
    return F.scaled_dot_product_attention(query, key, value)


def attends_fused(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether attention is one kernel, which never holds the attention matrix."""
    return not (device.type == "cpu" and dtype == torch.bfloat16)


class Mlp(nn.Module):
    """Two linear layers with a GELU between, on each token alone."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """The transformed tokens."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """Attention and MLP, each behind a norm and beside a residual connection."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """The tokens after this block."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class Blocks(nn.ModuleList):
    """A stack of blocks. With `checkpointing`, activations are computed again in the backward."""

    def __init__(
        self, depth: int, width: int, num_heads: int, mlp_ratio: float, checkpointing: bool = False
    ) -> None:
        super().__init__(Block(width, num_heads, mlp_ratio) for _ in range(depth))
        self.checkpointing = checkpointing

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """The tokens after the last block."""
        return self.last_layers(tokens, 1)[0]

    def last_layers(self, tokens: Float[Tensor, "B N D"], num_layers: int) -> list[Tensor]:
        """The tokens after each of the last `num_layers` blocks, in order."""
        outputs: list[Tensor] = []
        for block in self:
            if self.checkpointing and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
            outputs = [*outputs, tokens][-num_layers:]
        return outputs
