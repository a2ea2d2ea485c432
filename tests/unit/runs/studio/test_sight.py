"""What a model sees: the same numbers as the commands give, for one picture and one box."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jepakit.runs.model import Model
from jepakit.runs.seeing.looking import Looking, NotDrawn
from jepakit.runs.seeing.retrieval import retrieve
from jepakit.runs.studio.box import ChosenPatch, HiddenBox
from jepakit.runs.studio.sight import Looker
from jepakit.runs.studio.visit import Studio

BOX = HiddenBox(1, 0, 2, 3)


def test_surprise_in_a_box_is_the_energy_of_predict(studio: Studio, model: Model) -> None:
    sight = studio.lookers[0].see(studio.example(1))
    prediction = model.predict(sight.tile, target=BOX.pixels((8, 8)))
    np.testing.assert_allclose(sight.surprise(BOX), prediction.energy[0], rtol=1e-4)


def test_surprise_everywhere_is_the_energy_of_visualize(
    studio: Studio, looks: list[Looking]
) -> None:
    for looker, looking in zip(studio.lookers, looks, strict=True):
        sight = looker.see(studio.example(0))
        wanted = looking.trio().energy(looking.pictures[:1], looking.settings.energy)[0]
        np.testing.assert_allclose(sight.energy, wanted, rtol=1e-5)


def test_expectations_are_those_of_retrieve(studio: Studio, looks: list[Looking]) -> None:
    looking, looker = looks[0], studio.lookers[0]
    found = looker.see(studio.example(2)).expected(BOX)
    gallery = looking.others(12, "gallery")
    hidden = BOX.places(looking.grid)
    wanted = retrieve(looking.trio(), looking.pictures[2:3], gallery, hidden, looking.grid, 2)
    for near, other in (
        (found.to_prediction, wanted.to_prediction),
        (found.to_truth, wanted.to_truth),
    ):
        assert [picture for picture, _ in near[0]] == [picture for picture, _ in other[0]]
    assert found.beaten == wanted.beaten


def test_a_patch_resembles_itself_most(studio: Studio) -> None:
    for looker in studio.lookers:
        sight = looker.see(studio.example(0))
        values = sight.resembling(ChosenPatch(1, 2))
        finer = looker.looking.finer()
        assert values.shape == (looker.grid[0] * finer, looker.grid[1] * finer)
        row, column = np.unravel_index(values.argmax(), values.shape)
        assert (row // finer, column // finer) == (1, 2)
        assert values.max() == pytest.approx(1, abs=1e-5)


def test_colours_do_not_depend_on_what_was_looked_at_before(studio: Studio) -> None:
    first, second = (studio.lookers[0].see(studio.example(0)) for _ in range(2))
    assert (first.colours == second.colours).all()
    assert first.colours.shape == (*studio.lookers[0].finer_grid, 3)
    assert first.colours.std() > 0


def test_what_stands_out_is_a_patch_of_the_grid(studio: Studio) -> None:
    looker = studio.lookers[0]
    view = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    view[..., 16:24, 8:16] = 255
    sight = type(looker.see(studio.example(0)))(looker, view)
    assert sight.standing_out == ChosenPatch(2, 1)


def test_without_predictor_maps_remain(without_predictor: Looking, studio: Studio) -> None:
    sight = Looker("encoder", without_predictor).see(studio.example(0))
    assert np.isfinite(sight.resembling(ChosenPatch(0, 0))).all()
    assert sight.colours.shape[-1] == 3
    for ask in (sight.surprise, sight.expected):
        with pytest.raises(NotDrawn, match="holds no predictor"):
            ask(BOX)
