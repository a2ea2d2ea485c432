"""A decoder's run takes its frozen networks from a trained model: their settings and weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from jepakit.objectives import PixelDecoder
from jepakit.runs.config import InitFrom, RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.loaded import Loaded
from jepakit.runs.prediction import check_can_predict
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import read_yaml

DECODER = "pixel_decoder"


def with_frozen(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a config with architecture and normalisation of its `objective.model`.

    Other objectives stay as they are. A run that has begun wrote down what it took, and goes on
    without the model. `ValueError` if no model is named, or if it cannot predict.
    """
    objective = content.get("objective")
    if not isinstance(objective, Mapping) or objective.get("kind") != DECODER:
        return content
    model = objective.get("model")
    if not model:
        raise ValueError(
            "a decoder needs a trained model, whose predictions it decodes: write "
            "objective.model=runs/NAME"
        )
    taken = _taken_before(content, model) or _taken_from(str(model))
    data = content.get("data") or {}
    if not isinstance(data, Mapping):
        return content  # told when the settings are checked
    networks = {name: taken[name] for name in ("encoder", "predictor")}
    return {**content, **networks, "data": {**data, "normalization": taken["normalization"]}}


def beginning_of(config: RunConfig) -> InitFrom | None:
    """The weights that a run begins with, if not random ones."""
    if isinstance(config.objective, PixelDecoder.Settings):
        if config.init_from is not None:
            raise ValueError(
                "a decoder begins with the networks of objective.model: leave out init_from"
            )
        assert config.objective.model is not None, "see `with_frozen`"
        return InitFrom(name=config.objective.model, parts="both")
    return config.init_from


def open_predicting(name: str, device: torch.device) -> Loaded:
    """A model that can predict. `ValueError` with one sentence."""
    loaded = load_weights(name, device)
    check_can_predict(loaded)
    return loaded


def _taken_from(model: str) -> dict[str, Any]:
    description = open_predicting(model, torch.device("cpu")).description
    assert description is not None, "what has a predictor is built like ours"
    assert description.predictor is not None
    return {
        "encoder": description.encoder.model_dump(mode="json"),
        "predictor": description.predictor.model_dump(mode="json"),
        "normalization": description.normalization.model_dump(mode="json"),
    }


def _taken_before(content: Mapping[str, Any], model: object) -> dict[str, Any] | None:
    """What the run took when it began, if it has begun with this model."""
    if not isinstance(folder := content.get("folder"), str):
        return None
    begun = RunFolder(Path(folder).expanduser())
    if not begun.config.exists() or not begun.holds_checkpoints():
        return None
    before = read_yaml(begun.config)
    if before.get("objective", {}).get("model") != model:
        return None
    return {**before, "normalization": before["data"]["normalization"]}
