"""`jepa demo`, shortened: pretraining, scores, and the page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jepakit.commands.demo import evaluation_words

SHORT = (
    *("data.source.num_pictures=96", "data.source.size=32", "data.view.size=24"),
    *("data.validation.num_pictures=64", "data.validation.size=32", "data.num_workers=0"),
    *("optimization.epochs=2", "optimization.warmup_epochs=0.5", "encoder.depth=2"),
    *("monitors.probe_train=32", "monitors.probe_test=32", "logging.tensorboard=false"),
    "batch.size=16",
)


def test_the_demo_trains_in_two_processes_scores_and_draws(
    jepa: Callable[..., Any], tmp_path: Path
) -> None:
    command = jepa("demo", "--folder", "demo", "devices=[cpu,cpu]", *SHORT, folder=tmp_path)
    assert command.wait() == 0, command.said
    assert "Next:" not in command.said  # what comes next, comes by itself
    scores = json.loads((tmp_path / "demo/scores.json").read_text())["scores"]
    assert list(scores)[1:] == ["random encoder", "raw pixels"]
    assert {"mean/linear", "mean/knn_20", "nearest_colour/linear"} <= set(scores["raw pixels"])
    page = (tmp_path / "demo/report.html").read_text()
    for heading in (
        *("What the features know", "Is it healthy?", "Context and targets", "Surprise"),
        *("What the model expects in a hidden block", "How the training went"),
    ):
        assert heading in page
    told = " ".join(command.output.split())
    assert "on the mean of the tasks" in told
    assert f"jepa evaluate demo {shlex.join(evaluation_words())} more" in told
    facts = json.loads((tmp_path / "demo/checkpoints/step-00000012/facts.json").read_text())
    assert facts["facts"]["world_size"] == 2
