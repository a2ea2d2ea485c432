"""Pictures that stay on the device: of a batch only the boxes travel, views are cut there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from jepakit.core.tensors import Batch
from jepakit.data.batched_crops import crop_and_resize_batch
from jepakit.data.loader import TrainingStream
from jepakit.data.sources.source import BrokenPicture, Source
from jepakit.data.views import RandomView


class ResidentPictures:
    """All pictures of a source as one uint8 tensor on a device, smaller ones padded."""

    def __init__(self, source: Source, view: RandomView.Settings, device: torch.device) -> None:
        height, width = largest_size(source)
        self._view = view
        shape = (len(source), source.num_channels, height, width)
        self.pixels: UInt8[Tensor, "N C H W"] = torch.zeros(shape, dtype=torch.uint8, device=device)
        for index in range(len(source)):
            try:
                pixels = np.array(source.open(index).pixels())
            except BrokenPicture:  # the loader never asks for it
                continue
            planes = torch.from_numpy(pixels).permute(2, 0, 1)
            self.pixels[index, :, : planes.shape[1], : planes.shape[2]] = planes.to(device)

    def views(
        self, indices: Int[Tensor, " B"], plans: Int[Tensor, "B 5"]
    ) -> UInt8[Tensor, "B C H W"]:
        """The views that were planned, on the device."""
        device = self.pixels.device
        chosen = self.pixels[indices.to(device, non_blocking=True)]
        plans = plans.to(device, non_blocking=True)
        boxes, flips = plans[:, :4], plans[:, 4].bool()
        size, interpolation = self._view.size, self._view.interpolation
        return crop_and_resize_batch(chosen, boxes, flips, size, interpolation)


class ResidentStream:
    """A training stream of plans (`PlannedView`) as a stream of views on the device."""

    def __init__(self, plans: TrainingStream, pictures: ResidentPictures) -> None:
        self._plans, self._pictures = plans, pictures
        self.steps_per_epoch = plans.steps_per_epoch
        self.num_workers = plans.num_workers
        self.broken = plans.broken

    def __iter__(self) -> Iterator[tuple[Batch, ...]]:
        for step in self._plans:
            yield tuple(
                replace(batch, views=self._pictures.views(batch.indices, batch.views))
                for batch in step
            )

    def close(self) -> None:
        """End the workers."""
        self._plans.close()


def largest_size(source: Source) -> tuple[int, int]:
    """The largest height and the largest width; `ValueError` if no picture can be read."""
    sizes = []
    for index in range(len(source)):
        try:
            sizes.append(source.open(index).size)
        except BrokenPicture:
            continue
    if not sizes:
        raise ValueError(f"none of the {len(source)} pictures can be read: check --data")
    height, width = np.max(sizes, axis=0).tolist()
    return height, width
