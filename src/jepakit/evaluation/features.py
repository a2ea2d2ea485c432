"""From pictures to the feature matrices that evaluations score: a frozen encoder's, or pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from jepakit.evaluation.evaluation import Features
from jepakit.models.encoder import Encoder

Pooling = Literal["last", "last_four"]
LabelledViews = Iterable[tuple[Tensor, Tensor]]  # uint8 B C H W, int64 B (-1 = unlabelled)


def extract_features(
    encoder: Encoder,
    batches: LabelledViews,
    normalise: Callable[[Tensor], Tensor],
    pooling: Pooling = "last",
    autocast: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Features:
    """One feature row per picture, float32 on the CPU, from an encoder that lies on `device`.

    `last` is the average of the last layer's tokens. `last_four` concatenates the averages of the
    last four layers, or of all layers where there are fewer (paper appendix A.2). `normalise`
    turns uint8 views on the device into the encoder's input. `progress` gets the number of
    pictures done after each batch. The encoder's training mode is restored.
    """
    num_layers = {"last": 1, "last_four": 4}[pooling]
    values, labels, num_done = [], [], 0
    device = torch.device(device)
    with torch.inference_mode(), evaluating(encoder):
        for views, batch_labels in batches:
            inputs = normalise(views.to(device, non_blocking=True))
            with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                pooled = pooled_layers(encoder, inputs, num_layers)
            values.append(pooled.cpu())
            labels.append(batch_labels.cpu())
            num_done += len(views)
            if progress is not None:
                progress(num_done)
    return _joined(values, labels)


def pooled_layers(
    encoder: Encoder, views: Float[Tensor, "B C H W"], num_layers: int
) -> Float[Tensor, "B D"]:
    """The concatenated averages of the tokens of the last layers, float32, the last one last."""
    layers = encoder.last_layers(views, num_layers)  # each B N D
    return torch.cat([tokens.float().mean(dim=1) for tokens in layers], dim=1)


def pixel_features(batches: LabelledViews, size: int = 16) -> Features:
    """The baseline without an encoder: pictures averaged down to `size` x `size`, flattened.

    A side that is already smaller stays as it is. Values lie in [-1, 1] with grey at 0, so that
    the cosine between two pictures is not all brightness: on scenes this is worth 4 points to k-NN,
    while 32 x 32 instead of 16 x 16 is worth nothing to either probe.
    """
    values, labels = [], []
    for views, batch_labels in batches:
        sides = [min(side, size) for side in views.shape[-2:]]
        small = F.interpolate(views.float(), size=sides, mode="area")
        values.append((small / 127.5 - 1).flatten(1).cpu())
        labels.append(batch_labels.cpu())
    return _joined(values, labels)


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Everything inside is in eval mode; each part's own mode comes back afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _joined(values: list[Tensor], labels: list[Tensor]) -> Features:
    if not values:
        raise ValueError("there are no pictures to evaluate: give at least one batch")
    # Tensors made in inference mode cannot be used by a probe that trains: `cat` outside copies.
    return Features(torch.cat(values), torch.cat(labels))
