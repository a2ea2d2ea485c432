"""The film: steady colours, thinned checkpoints, frames of one size."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from jepakit.core.checkpoint import CheckpointFolder
from jepakit.runs.seeing.film import chosen_steps, show_film, steady
from jepakit.runs.seeing.looking import Looking, NotDrawn
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import check
from jepakit.visualization import Film
from jepakit.visualization.sections import animated_png


def test_colours_that_only_changed_places_come_back() -> None:
    last = torch.rand(2, 4, 4, 3, generator=torch.Generator().manual_seed(0))
    mixed = 1 - last[..., [2, 0, 1]]
    torch.testing.assert_close(steady([mixed, last])[0], last, atol=1e-5, rtol=0)


def with_checkpoints(looking: Looking, folder: Path, steps: list[int]) -> Looking:
    """The same run with its checkpoint at several steps, of networks that differ."""
    assert looking.loaded.trained is not None
    shutil.copytree(looking.loaded.trained.folder.path, folder)
    config = looking.loaded.trained.config
    first = CheckpointFolder(folder / "checkpoints", config.checkpoint).load_newest()
    assert first is not None
    settings = config.checkpoint.model_copy(update={"keep_last": 50})
    for step in steps:
        tensors = {name: value + 0.001 * step for name, value in first.tensors.items()}
        state = replace(first, tensors=tensors, facts={**first.facts, "step": step})
        CheckpointFolder(folder / "checkpoints", settings).save(state)
    return replace(looking, loaded=load_weights(str(folder), looking.device))


def test_a_frame_for_each_checkpoint(looking: Looking, tmp_path: Path) -> None:
    many = with_checkpoints(looking, tmp_path / "run", [10, 20, 30])
    film = show_film(many).sheets["film"]
    assert isinstance(film, Film)
    assert len(film.frames) == 4
    assert len({frame.shape for frame in film.frames}) == 1
    assert (film.frames[0] != film.frames[-1]).any()
    image = Image.open(io.BytesIO(animated_png(film.frames, film.seconds)))
    assert image.n_frames == 4  # type: ignore[attr-defined]
    assert "prefers-reduced-motion" in film.html()


def test_checkpoints_are_thinned_evenly(looking: Looking, tmp_path: Path) -> None:
    many = with_checkpoints(looking, tmp_path / "run", [10, 20, 30, 40])
    settings = check(type(looking.settings), {"film": {"frames": 3}})
    steps = [step for step, _ in chosen_steps(replace(many, settings=settings))]
    assert steps == [7, 20, 40]


def test_one_checkpoint_is_no_film(looking: Looking) -> None:
    with pytest.raises(NotDrawn, match=r"holds 1 checkpoint, .* checkpoint.every_steps=100"):
        show_film(looking)
    with pytest.raises(NotDrawn, match="no run folder"):
        show_film(replace(looking, loaded=replace(looking.loaded, trained=None)))
