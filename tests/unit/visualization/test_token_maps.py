"""Foreground, similarity and segments find what was put into tokens."""

import numpy as np
import pytest
import torch

from jepakit.visualization.token_maps import (
    foreground_scores,
    segments,
    separate,
    similarities,
)

GRID = (6, 6)


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sign", [1, -1])
def test_what_does_not_touch_the_border_is_foreground(sign: int) -> None:
    thing = torch.zeros(2, *GRID, dtype=torch.bool)
    thing[0, 2:4, 2:5] = thing[1, 1:3, 3] = True
    tokens = noise(2, 36, 8)
    tokens[thing.flatten(1)] += sign * torch.eye(8)[3]
    assert torch.equal(separate(foreground_scores(tokens, GRID)), thing.flatten(1))


def test_two_heaps_are_parted_between_them() -> None:
    scores = torch.tensor([[0.0, 0.1, 5.0], [5.2, 0.2, 5.1]])
    assert separate(scores).tolist() == [[False, False, True], [True, False, True]]


def test_similarity_is_the_cosine_with_the_own_pictures_patch() -> None:
    tokens = noise(2, 5, 4)
    found = similarities(tokens, torch.tensor([1, 4]))
    assert found.shape == (2, 5)
    torch.testing.assert_close(found[torch.arange(2), torch.tensor([1, 4])], torch.ones(2))
    expected = torch.nn.functional.cosine_similarity(tokens[1, 0], tokens[1, 4], dim=0)
    torch.testing.assert_close(found[1, 0], expected)


def test_segments_are_the_directions_that_are_there_by_size() -> None:
    kinds = torch.tensor([[0] * 12 + [1] * 6, [0] * 9 + [2] * 9])
    tokens = torch.eye(8)[kinds] * 3 + noise(2, 18, 8)
    found = segments(tokens, 3)
    assert found.shape == (2, 18)
    order = [0, 2, 1]  # 21, 9 and 6 tokens
    assert np.array_equal(found, np.argsort(order)[kinds.numpy()])
    assert np.array_equal(found, segments(tokens, 3))


def test_fewer_tokens_than_segments() -> None:
    assert segments(torch.ones(1, 2, 3), 5).tolist() == [[0, 0]]
