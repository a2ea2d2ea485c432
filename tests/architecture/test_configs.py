"""Every config file describes a run that can be built."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jepakit.evaluation.fine_tuning import FineTuning
from jepakit.evaluation.linear_sweep import LinearSweep
from jepakit.masking import build_masking
from jepakit.models import Encoder, Predictor
from jepakit.objectives import OBJECTIVES
from jepakit.runs.config import RunConfig
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.reference_yaml import from_reference, is_reference
from jepakit.runs.yaml_file import check, read_yaml

ROOT = Path(__file__).parents[2]
# Configs of evaluations describe no training; each of them names a trained run.
RUNS = sorted(p for p in (ROOT / "configs").rglob("*.yaml") if p.parent.name != "evaluation")
REFERENCE = {
    "in1k_vith14_ep300",
    "in1k_vith16-448_ep300",
    "in22k_vith14_ep66",
    "in22k_vitg16_ep44",
}


def read(path: Path) -> RunConfig:
    content = read_yaml(path)
    if not is_reference(content):
        return check(RunConfig, content)
    content["data"]["root_path"] = "/pictures"
    content["logging"]["folder"] = "/runs"
    return from_reference(content, num_devices=2)


def test_the_references_files_are_there() -> None:
    assert {p.stem for p in RUNS if is_reference(read_yaml(p))} == REFERENCE


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_config_describes_a_run_that_can_be_built(path: Path) -> None:
    config = read(path)
    with torch.device("meta"):
        encoder = Encoder(config.encoder, 3, config.data.view.size)
        predictor = Predictor(config.predictor, encoder)
        objective = OBJECTIVES[config.objective.kind](config.objective, encoder, predictor)
    assert objective.kept_encoder().grid == config.grid
    assert build_masking(config.masking, config.grid).grid == config.grid


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_configs_head_tells_the_command(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = "\n".join(lines[: next(i for i, line in enumerate(lines) if line[:1] != "#")])
    assert path.relative_to(ROOT).as_posix() in head
    assert "jepa " in head or "python main" in head


EVALUATIONS = sorted((ROOT / "configs" / "evaluation").glob("*.yaml"))


@pytest.mark.parametrize("path", EVALUATIONS, ids=lambda path: path.stem)
def test_a_config_describes_an_evaluation(path: Path) -> None:
    assert check(EvaluationSettings, read_yaml(path)).tasks
    assert path.relative_to(ROOT).as_posix() in path.read_text(encoding="utf-8")


def test_the_papers_evaluation_is_the_papers() -> None:
    paper = check(EvaluationSettings, read_yaml(ROOT / "configs" / "evaluation" / "paper.yaml"))
    ours = LinearSweep.Settings.paper().model_dump()
    for name, value in paper.linear_sweep.model_dump().items():
        both = value, ours[name]
        assert both[0] == both[1] or set(both[0]) == set(both[1]), name
    assert paper.low_shot_fine_tune == FineTuning.Settings.paper_low_shot()


def test_the_demos_settings_are_valid() -> None:
    path = ROOT / "src" / "jepakit" / "runs" / "demo.yaml"
    assert check(RunConfig, read_yaml(path)).data.source.kind == "scenes"
