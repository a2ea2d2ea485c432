"""Models that can look at the same pictures, and names that tell them apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jepakit.runs.seeing.looking import Looking
from jepakit.runs.studio.opening import studio_of
from jepakit.runs.weights import load_weights


def named(looking: Looking, name: str) -> Looking:
    return replace(looking, loaded=replace(looking.loaded, name=name))


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["runs/a"], ["a"]),
        (["runs/a", "runs/b"], ["a", "b"]),
        (["one/a", "two/a"], ["one/a", "two/a"]),
        (
            ["runs/a/checkpoints/step-00000140", "runs/a/checkpoints/step-00001000"],
            ["a/step 140", "a/step 1000"],
        ),
        (["runs/a/checkpoints/step-00000140", "runs/a"], ["a/step 140", "a"]),
        (["timm:vit_small", "runs/a"], ["timm:vit_small", "a"]),
    ],
)
def test_names(names: list[str], shown: list[str], looks: list[Looking]) -> None:
    studio = studio_of([named(looks[0], name) for name in names])
    assert [looker.name for looker in studio.lookers] == shown


def test_the_same_model_twice(looks: list[Looking]) -> None:
    with pytest.raises(ValueError, match="name every model once"):
        studio_of([looks[0], looks[0]])


def test_models_that_cannot_look_at_the_same_pictures(
    looks: list[Looking], new_run: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"other shapes \(32 x 32 and 32 x 64 pixels\)"):
        studio_of([looks[0], replace(looks[1], size=(32, 64))])
    grey = load_weights(str(new_run(tmp_path / "grey", 1)), torch.device("cpu"))
    with pytest.raises(ValueError, match="3 and 1 channels: open them one by one"):
        studio_of([looks[0], replace(looks[0], loaded=grey)])
