"""A decoder's config takes its networks from the model that it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jepakit.runs import frozen
from jepakit.runs.config import RunConfig
from jepakit.runs.frozen import beginning_of, with_frozen
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import check


@pytest.fixture
def model(home: Path) -> str:
    return str(home / "runs" / "my-run")


def content(model: str | None, **more: Any) -> dict[str, Any]:
    objective = {"kind": "pixel_decoder", "model": model}
    return {"objective": objective, "data": {"view": {"size": 32}}, **more}


def test_architecture_and_normalisation_are_the_models(model: str) -> None:
    config = check(RunConfig, with_frozen(content(model, encoder={"size": None, "width": 64})))
    assert (config.encoder.width, config.encoder.depth, config.encoder.patch) == (32, 2, 8)
    assert config.predictor.width == 16
    assert config.data.normalization.mean == (0.485,) * 3  # type: ignore[union-attr]
    begins = beginning_of(config)
    assert begins is not None
    assert (begins.name, begins.parts) == (model, "both")


def test_other_objectives_stay_as_they_are() -> None:
    ijepa: dict[str, Any] = {"objective": {"kind": "ijepa"}, "folder": "x"}
    assert with_frozen(ijepa) is ijepa
    assert beginning_of(RunConfig()) is None


def test_mistakes_are_told(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"write objective\.model=runs/NAME"):
        with_frozen(content(None))
    with pytest.raises(ValueError, match="there is no runs/nothing"):
        with_frozen(content("runs/nothing"))
    config = check(RunConfig, with_frozen(content(model, init_from=model)))
    with pytest.raises(ValueError, match="leave out init_from"):
        beginning_of(config)

    def without_predictor(*arguments: Any) -> Any:
        return replace(load_weights(*arguments), predictor=None)

    monkeypatch.setattr(frozen, "load_weights", without_predictor)
    with pytest.raises(ValueError, match="holds no predictor: to predict, load a run folder"):
        with_frozen(content(model))
