"""Retrieval finds a block itself where the gallery holds it, and draws what it found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from jepakit.runs.seeing.energy import Trio
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.retrieval import retrieve, show_retrieval
from jepakit.runs.yaml_file import check
from jepakit.visualization import Text


def test_the_nearest_to_the_truth_is_the_block_itself(looking: Looking) -> None:
    gallery = looking.read(range(12))
    hidden = torch.tensor([5, 6, 9, 10])
    found = retrieve(looking.trio(), gallery[3:6], gallery, hidden, (4, 4), 2)
    for query, near in enumerate(found.to_truth):
        picture, tokens = near[0]
        assert picture == query + 3
        assert torch.equal(tokens, hidden)
        assert len({picture for picture, _ in near}) == 2
    assert ((found.beaten >= 0) & (found.beaten <= 1)).all()


def test_a_prediction_that_is_the_truth_beats_all_others(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    trio = looking.trio()
    kind = type(trio)
    monkeypatch.setattr(kind, "predicted", lambda self, views, hidden: self.truth(views)[:, hidden])
    gallery = looking.read(range(3, 15))
    hidden = torch.tensor([5, 6, 9, 10])
    found = retrieve(trio, looking.read(range(3)), gallery, hidden, (4, 4), 2)
    assert (found.beaten == 1).all()
    assert [near[0][0] for near in found.to_prediction] == [n[0][0] for n in found.to_truth]


def test_the_hidden_block_is_not_drawn_above_and_is_below(looking: Looking) -> None:
    drawn = show_retrieval(looking).sheets["retrieval"]
    assert isinstance(drawn, np.ndarray)
    sheet = drawn[drawn.shape[0] - 3 * (2 * 128 + 4) - 2 * 4 :]  # below the names of the columns
    assert (sheet[40:56, 40:56] == 20).all()
    assert not (sheet[132 + 40 : 132 + 56, 40:56] == 20).all()


def test_expectations_are_judged_on_further_pictures_beside_untrained_networks(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = show_retrieval(looking)
    scores: Any = shown.numbers["nearer_than_others"]
    assert list(scores) == ["prediction", "untrained networks"]
    words = next(section for section in shown.sections if isinstance(section, Text))
    assert "14 pictures, 95 % bootstrap intervals" in words.body  # 3 drawn, a fifth of 57
    own = verdict(looking, monkeypatch, right=True)
    assert own.tone == "good"
    assert "than 100.0 (100.0–100.0) % of the blocks" in own.body
    assert verdict(looking, monkeypatch, right=False).tone == "warning"


def verdict(looking: Looking, monkeypatch: pytest.MonkeyPatch, right: bool) -> Text:
    """If the model's predictions are the truth and others' are near it, or the other way round."""
    trio = looking.trio()
    kind = type(trio)

    def predicted(self: Trio, views: Tensor, hidden: Tensor) -> Tensor:
        truth = self.truth(views)[:, hidden]
        is_right = (self.predictor is trio.predictor) == right
        return truth if is_right else truth + 3 * truth.std() * torch.randn_like(truth)

    monkeypatch.setattr(kind, "predicted", predicted)
    sections = show_retrieval(looking).sections
    return next(section for section in sections if isinstance(section, Text))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"block": 4}, "hides the whole grid of 4 x 4"),
        ({"corner": (3, 3), "block": 2}, "outside of the grid: rows go to 2"),
    ],
)
def test_impossible_blocks(words: dict[str, object], told: str, looking: Looking) -> None:
    settings = check(type(looking.settings), {"retrieval": words})
    with pytest.raises(ValueError, match=told):
        show_retrieval(replace(looking, settings=settings))
