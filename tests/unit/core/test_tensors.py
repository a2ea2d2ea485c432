"""Batches keep all they hold when they move."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from jepakit.core.tensors import Batch, MaskIndices


def example() -> Batch:
    masks = MaskIndices(torch.zeros(2, 1, 3, dtype=torch.long), torch.ones(2, 4, 2).long())
    views = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    return Batch(views, masks, torch.tensor([0, -1]), torch.tensor([7, 9]))


def test_a_batch_moves_with_its_masks() -> None:
    moved = example().to("meta")
    for tensor in (moved.views, moved.labels, moved.masks.context, moved.masks.targets):
        assert tensor.device.type == "meta"
    assert moved.views.dtype == torch.uint8
    assert moved.masks.targets.shape == (2, 4, 2)
    assert moved.indices.tolist() == [7, 9]  # they are names for people and stay at home


def test_a_batch_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        example().labels = torch.zeros(2)


@pytest.mark.gpu
def test_a_pinned_batch_is_the_same_batch() -> None:
    pinned = example().pin_memory()
    for tensor in (pinned.views, pinned.labels, pinned.masks.context, pinned.masks.targets):
        assert tensor.is_pinned()
    assert pinned.indices.tolist() == [7, 9]
