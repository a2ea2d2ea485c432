"""What a training step holds in memory, from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from jepakit.core.devices import Precision
from jepakit.models.cost import TokenCounts
from jepakit.models.encoder import Encoder
from jepakit.models.predictor import Predictor
from jepakit.models.transformer import Block, Blocks

FULL = 4  # bytes of an fp32 number: weights, residual stream, norms and loss stay in fp32
STATISTICS = 4 * FULL  # mean and deviation of a block's two norms, per token


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a forward and backward pass: per picture, and copies of weights."""

    views: int  # the pictures themselves
    encoder: int  # what autograd keeps of the context encoder
    predictor: int  # and of the predictor and the loss
    results: int  # what the forward pass still holds at its end: predictions and distances
    gradients: int  # most of what comes and goes in the backward pass while all that is kept
    before: int  # most of what the target encoder needs, before anything is kept
    copies: int  # bf16 copies of the matrices that learn, made once per forward pass
    copies_kept: int  # those of them that stay for the backward pass
    copies_again: int  # and those that checkpointing makes anew for one block at a time

    @property
    def kept(self) -> int:
        """What autograd keeps from forward to backward, per picture."""
        return self.encoder + self.predictor

    @property
    def per_picture(self) -> int:
        """What one more picture takes, at most."""
        return self.views + max(self.kept + max(self.results, self.gradients), self.before)

    def peak(self, num_pictures: int) -> int:
        """The most that a step of so many pictures holds beside weights, gradients and moments."""
        n = num_pictures
        forward = n * (self.kept + self.results) + self.copies
        backward = n * (self.kept + self.gradients) + self.copies_kept + self.copies_again
        return n * self.views + max(n * self.before, forward, backward)


@dataclass(frozen=True)
class _Stack:
    """One network's blocks, over sequences of `length` tokens."""

    length: int
    width: int
    hidden: int
    num_heads: int
    depth: int
    checkpointing: bool
    number: int  # bytes of a number in matrix products
    fused: bool

    def block(self) -> int:
        """What autograd keeps of a block, per token: the inputs of its operations.

        In fp32, in widths: the input, both norms' outputs, query, key and value, their mixture,
        the tokens after attention; and the MLP's hidden numbers before and after GELU. Under
        autocast the norms' inputs stay in fp32 and everything else is kept as cast. The fused
        attention keeps one number per head, its parts a row of the attention matrix per head.
        """
        per_head = FULL if self.fused else self.number * self.length
        wide = self.width * (2 * FULL + 6 * self.number)
        return wide + 2 * self.hidden * self.number + STATISTICS + self.num_heads * per_head

    def kept(self) -> int:
        """What autograd keeps of all blocks, per token."""
        one = self.width * FULL if self.checkpointing else self.block()
        return self.depth * one

    def recomputed(self) -> int:
        """With checkpointing one block is there in full while its gradient is computed."""
        return self.block() - self.width * FULL if self.checkpointing else 0

    def gradient(self) -> int:
        """Gradients on their way through a block, per token: residual stream and hidden numbers."""
        return self.width * (FULL + self.number) + self.hidden * self.number

    def unkept(self) -> int:
        """Most of what a forward pass without autograd holds at once, per token."""
        cast = 0 if self.number == FULL else self.number
        return self.width * (3 * FULL + FULL + cast) + 2 * self.hidden * self.number


def _stack(blocks: Blocks, length: int, number: int, fused: bool) -> _Stack:
    first = blocks[0]
    assert isinstance(first, Block)
    hidden, width = first.mlp.fc1.weight.shape
    return _Stack(
        length=length,
        width=width,
        hidden=hidden,
        num_heads=first.attn.num_heads,
        depth=len(blocks),
        checkpointing=blocks.checkpointing,
        number=number,
        fused=fused,
    )


def step_memory(
    encoder: Encoder,
    predictor: Predictor,
    counts: TokenCounts,
    precision: Precision,
    fused: bool = True,
) -> StepMemory:
    """What one picture needs in a step; `fused` as `models.transformer.attends_fused` says."""
    number = 2 if precision == "bf16" else FULL
    height, width = encoder.picture
    pixels = encoder.num_channels * height * width
    context = counts.contexts * counts.context  # tokens of the context encoder
    pairs = counts.contexts * counts.targets
    hidden = pairs * counts.target  # tokens predicted
    sequences = pairs * (counts.context + counts.target)  # tokens of the predictor

    outer = _stack(encoder.blocks, counts.context, number, fused)
    inner = _stack(predictor.predictor_blocks, counts.context + counts.target, number, fused)
    patch = encoder.patch_embed.proj.weight[0].numel()
    ends = patch * number + outer.width * (FULL + number) + STATISTICS // 2
    wide = outer.width * FULL
    return StepMemory(
        views=pixels * FULL,
        encoder=context * (outer.kept() + ends),
        predictor=sequences * (inner.kept() + inner.width * FULL)
        + hidden * (inner.width * number + STATISTICS // 2 + wide)
        + counts.targets * counts.target * wide,
        results=hidden * outer.width * (FULL + (number if number < FULL else 0)),
        gradients=max(
            2 * hidden * wide,
            sequences * (inner.recomputed() + inner.gradient()),
            context * (outer.recomputed() + outer.gradient()) - sequences * inner.kept(),
        ),
        before=counts.grid * _stack(encoder.blocks, counts.grid, number, fused).unkept(),
        **_copies(encoder, predictor, number),
    )


def _copies(encoder: Encoder, predictor: Predictor, number: int) -> dict[str, int]:
    """Bytes of the casts that autocast makes of what linear layers multiply with."""
    if number == FULL:
        return {"copies": 0, "copies_kept": 0, "copies_again": 0}
    everything, within, again = 0, 0, 0
    for network, blocks in (
        (encoder, encoder.blocks),
        (predictor, predictor.predictor_blocks),
    ):
        everything += number * _matrices(network)
        if blocks.checkpointing:
            within += number * _matrices(blocks)
            again = max(again, number * _matrices(blocks[0]))
    return {"copies": everything, "copies_kept": everything - within, "copies_again": again}


def _matrices(network: nn.Module) -> int:
    return sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Linear))


def state_bytes(encoder: Encoder, predictor: Predictor) -> int:
    """Bytes of parameters, gradients, AdamW's two moments and the target encoder, all fp32."""
    encoder_size = sum(p.numel() for p in encoder.parameters())
    predictor_size = sum(p.numel() for p in predictor.parameters())
    return 4 * (4 * (encoder_size + predictor_size) + encoder_size)
