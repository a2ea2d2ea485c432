"""A decoder in the studio: it fills the box and nothing else, and belongs to one model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.runs.seeing.test_imagine import write_decoder

from jepakit.runs.seeing.looking import Looking
from jepakit.runs.studio.imagining import open_imagine
from jepakit.runs.studio.opening import studio_of
from jepakit.runs.studio.visit import Visit


@pytest.fixture
def decoder(home: Path, tmp_path: Path) -> str:
    return str(write_decoder(tmp_path / "decoder", str(home / "runs" / "my-run")))


def test_only_the_box_is_imagined_and_each_seed_differs(looks: list[Looking], decoder: str) -> None:
    imagine = open_imagine(decoder, looks[0])
    views = looks[0].pictures[:1]
    samples = imagine(views, (8, 16, 16, 8), (0, 1))
    assert samples.shape == (2, 32, 32, 3)
    changed = (samples != views[0].permute(1, 2, 0).numpy()).any(axis=-1)
    inside = np.zeros((32, 32), bool)
    inside[8:24, 16:24] = True
    assert not changed[:, ~inside].any()
    assert changed[:, inside].mean() > 0.5
    assert (samples[0] != samples[1]).any()


def test_the_page_shows_samples_of_the_first_model(looks: list[Looking], decoder: str) -> None:
    visit = Visit(studio_of(looks, open_imagine(decoder, looks[0])))
    visit.show_example(0)
    shown = {kind: html for step in visit.look() for kind, html in step.panels.items()}
    assert shown["imagined"].count("<img") == 4
    assert "The decoder belongs to my-run" in shown["imagined"]


def test_a_decoder_of_another_model_or_size(looks: list[Looking], decoder: str) -> None:
    with pytest.raises(ValueError, match="whose weights are not those of"):
        open_imagine(decoder, looks[1])
    with pytest.raises(ValueError, match="these have 48 x 48: look with --size 32, or"):
        open_imagine(decoder, replace(looks[0], size=(48, 48)))
