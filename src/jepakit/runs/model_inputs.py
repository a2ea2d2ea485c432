"""From pictures that a program has to batches of views of one size, as a network takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from jepakit.data.picture_inputs import PictureInputs, views_of
from jepakit.data.sources.source import Picture
from jepakit.data.views import CentreView
from jepakit.pretrained.timm import TimmBackbone
from jepakit.runs.loaded import Loaded
from jepakit.runs.yaml_file import check

Size = int | tuple[int, int] | Literal["whole"] | None


@dataclass(frozen=True)
class ModelInputs:
    """Cuts and groups pictures for one network."""

    loaded: Loaded
    values: tuple[float, float] | None = None  # None: those of the training

    def batches(
        self, pictures: PictureInputs, size: Size, batch_size: int
    ) -> Iterator[UInt8[Tensor, "B C H W"]]:
        """Views in the order of the pictures, of one size per batch. `ValueError` without any."""
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size={batch_size!r} must be a whole number, at least 1")
        view: Any = _whole if size == "whole" else self.centre_view(size)
        values = self.values or self.loaded.values
        batch: list[Tensor] = []
        for one in views_of(pictures, self.loaded.encoder.num_channels, view, values):
            if batch and (len(batch) == batch_size or one.shape != batch[0].shape):
                yield torch.stack(batch)
                batch = []
            if not batch:
                self._check_size((one.shape[1], one.shape[2]))
            batch.append(one)
        if not batch:
            raise ValueError("there are no pictures: give at least one")
        yield torch.stack(batch)

    def centre_view(self, size: int | tuple[int, int] | None) -> CentreView:
        """The view of `size`, or the model's own. `ValueError` if the network cannot take it."""
        chosen = self.loaded.size if size is None else size
        if isinstance(chosen, str | float):
            raise ValueError(f"size={chosen!r} is no size: write e.g. size=224 or size=(224, 192)")
        view = CentreView(check(CentreView.Settings, {"size": chosen}))
        self._check_size(view.size)
        return view

    def _check_size(self, size: tuple[int, int]) -> None:
        encoder, usual = self.loaded.encoder, self.loaded.size
        encoder.rows_and_columns(*size)
        if isinstance(encoder, TimmBackbone) and size != usual:
            raise ValueError(
                f"{self.loaded.name} takes pictures of {usual[0]} x {usual[1]} pixels only: leave "
                "size out"
            )


def _whole(picture: Picture) -> UInt8[Tensor, "C H W"]:
    """The picture as it is, in memory of its own."""
    return torch.from_numpy(picture.pixels().copy()).permute(2, 0, 1)
