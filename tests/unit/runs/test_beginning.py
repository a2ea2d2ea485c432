"""A run that begins with the weights of a model is that model, before its first step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import jepakit
from jepakit.data.normalization import IMAGENET, Statistics
from jepakit.models import Encoder
from jepakit.objectives.ijepa import IJepa
from jepakit.runs.beginning import Beginning, begin_with
from jepakit.runs.config import InitFrom, RunConfig
from jepakit.runs.model import Model
from jepakit.runs.networks import build_networks
from jepakit.runs.trained import open_trained
from jepakit.runs.yaml_file import check

CPU = torch.device("cpu")
NAME = "runs/my-run"
ARCHITECTURE: dict[str, Any] = {
    "encoder": {"size": None, "width": 32, "depth": 2, "num_heads": 2, "patch": 8},
    "predictor": {"width": 16, "depth": 1, "num_heads": 2},
    "masking": {"kind": "random"},
}
GREY = Statistics(mean=(0.485,) * 3, std=(0.229,) * 3)  # as in the run that is loaded


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def begun(
    size: int = 32, num_channels: int = 3, architecture: dict[str, Any] | None = None, **more: Any
) -> tuple[IJepa, Beginning]:
    chosen = {**ARCHITECTURE, **(architecture or {}), "data": {"view": {"size": size}}, "seed": 5}
    config = check(RunConfig, chosen)
    objective = build_networks(config, num_channels, CPU).objective
    assert isinstance(objective, IJepa)
    return objective, begin_with(InitFrom(name=NAME, **more), objective, GREY)


def views(size: int = 32, num_channels: int = 3) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.rand(2, num_channels, size, size, generator=random)


def equal_states(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_encoder_only_begins_alike_in_both_and_the_predictor_at_random(model: Model) -> None:
    objective, told = begun()
    assert equal_states(objective.target_encoder, model.encoder)
    assert equal_states(objective.context_encoder, model.encoder)
    assert model.loaded.predictor is not None
    assert not equal_states(objective.predictor, model.loaded.predictor)
    sentence = told.sentences(NAME)
    assert "the target encoder from the target encoder" in sentence
    assert "resized: nothing" in sentence
    assert "left: the predictor, which begins at random" in sentence


def test_both_parts_take_every_network_from_its_own(model: Model) -> None:
    objective, told = begun(parts="both")
    loaded = model.loaded
    for ours, theirs in (
        (objective.target_encoder, loaded.target_encoder),
        (objective.context_encoder, loaded.context_encoder),
        (objective.predictor, loaded.predictor),
    ):
        assert theirs is not None
        assert equal_states(ours, theirs)
    assert "the context encoder from the context encoder, " in told.sentences(NAME)
    assert not any(not p.requires_grad for p in objective.context_encoder.parameters())
    assert not any(p.requires_grad for p in objective.target_encoder.parameters())


def test_the_context_encoder_can_be_the_one_to_begin_with(model: Model) -> None:
    objective, _ = begun(branch="context")
    assert model.loaded.context_encoder is not None
    assert equal_states(objective.target_encoder, model.loaded.context_encoder)


@pytest.mark.parametrize("size", [48, 24, 64])
def test_at_another_size_the_features_are_those_of_the_model_at_that_size(
    size: int, model: Model
) -> None:
    objective, told = begun(size, parts="both")
    expected = model.encoder.last_layers(views(size), 1)[0]
    torch.testing.assert_close(objective.target_encoder(views(size)), expected)
    assert f"positions resampled, a grid of 4 x 4 -> {size // 8} x {size // 8}" in told.resized
    prediction = model.predict(torch.zeros(1, 3, size, size), target=(0, 0, 8, 8), size=size)
    assert prediction.predicted.shape == (1, 1, 1, 32)
    grid = objective.predictor.grid
    torch.testing.assert_close(
        objective.predictor.positions(grid),
        model.loaded.predictor.positions(grid),  # type: ignore[union-attr]
    )


def test_positions_may_be_computed_anew() -> None:
    objective, told = begun(48, positions="computed")
    fresh = Encoder(objective.context_encoder.settings, 3, (48, 48))
    assert torch.equal(objective.target_encoder.pos_embed, fresh.pos_embed)
    assert "positions computed for a grid of 6 x 6" in told.resized


def test_other_patches_and_channels_are_made_to_fit(model: Model) -> None:
    patch = {"encoder": {**ARCHITECTURE["encoder"], "patch": 16}}
    objective, told = begun(64, 1, patch)
    assert objective.target_encoder.patch_embed.proj.weight.shape == (32, 1, 16, 16)
    assert "patches 8 x 8 -> 16 x 16 pixels" in told.resized
    assert "channels 3 -> 1" in told.resized
    grey = views(32, 1)
    before = model.encoder.patch_embed(grey.expand(-1, 3, -1, -1))
    # Each patch enlarged by itself: the grid stays, and so must the tokens.
    patches = grey.unfold(2, 8, 8).unfold(3, 8, 8).reshape(-1, 1, 8, 8)
    large = torch.nn.functional.interpolate(patches, size=(16, 16), mode="bilinear")
    after = objective.target_encoder.patch_embed(large).view(before.shape)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_another_normalisation_is_told_and_so_is_how_to_take_over_theirs() -> None:
    config = check(RunConfig, {**ARCHITECTURE, "data": {"view": {"size": 32}}})
    objective = build_networks(config, 3, CPU).objective
    told = begin_with(InitFrom(name=NAME), objective, IMAGENET)
    assert "theirs: data.normalization={mean: [0.485, 0.485, 0.485]" in told.sentences(NAME)


@pytest.mark.parametrize(
    ("architecture", "more", "sentence"),
    [
        (
            {"encoder": {**ARCHITECTURE["encoder"], "width": 16}},
            {},
            r"set encoder\.size=null encoder\.width=32 encoder\.depth=2 encoder\.num_heads=2 ",
        ),
        ({"encoder": {**ARCHITECTURE["encoder"], "num_heads": 4}}, {}, r"encoder\.num_heads=2"),
        (
            {"predictor": {"width": 16, "depth": 2, "num_heads": 2}},
            {"parts": "both"},
            r"set predictor\.width=16 predictor\.depth=1 .* or init_from\.parts=encoder",
        ),
    ],
)
def test_what_cannot_fit_tells_the_settings_that_do(
    architecture: dict[str, Any], more: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        begun(architecture=architecture, **more)


def test_a_name_alone_is_enough_in_a_config() -> None:
    assert check(RunConfig, {"init_from": "runs/a"}).init_from == InitFrom(name="runs/a")
    written = {"init_from": {"name": "runs/a", "parts": "both"}}
    assert check(RunConfig, written).init_from == InitFrom(name="runs/a", parts="both")
    with pytest.raises(ValueError, match="parts"):
        check(RunConfig, {"init_from": {"name": "a", "parts": "predictor"}})


def test_a_training_begins_with_the_model_and_its_own_continuation_does_not(
    home: Path, tmp_path: Path, model: Model, new_run: Callable[..., Path]
) -> None:
    """Through `jepakit.pretrain`, with no learning: what is trained is what was loaded."""
    pictures = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    settings: dict[str, Any] = {
        **ARCHITECTURE,
        "folder": str(tmp_path / "run"),
        "data": {
            "view": {"size": 32},
            "num_workers": 0,
            "normalization": GREY.model_dump(),
        },
        "batch": {"size": 8},
        "monitors": {"probe_train": 8, "probe_test": 8},
        "init_from": NAME,
        "optimization": {"epochs": 1, "warmup_epochs": 0, "lr": 1e-12, "final_lr": 1e-12},
    }
    folder = jepakit.pretrain(pictures, device="cpu", **settings)
    log = (folder / "log.txt").read_text()
    assert log.count(f"the run begins with {NAME}; taken: the context encoder") == 1
    trained = open_trained(folder, CPU).objective.kept_encoder()
    torch.testing.assert_close(trained.pooled(views()), model.encoder.pooled(views()))  # type: ignore[operator]
    jepakit.pretrain(pictures, device="cpu", **settings)
    assert "the run begins with" not in (folder / "log.txt").read_text().replace(log, "")
