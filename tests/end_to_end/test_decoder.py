"""A decoder: trained on a run, killed, continued without the run, and asked to imagine."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

Jepa = Callable[..., Any]
TINY = """
precision: fp32
data:
  source: {kind: scenes, num_pictures: 64, size: 32}
  view: {size: 32}
  num_workers: 0
objective:
  {kind: pixel_decoder, model: run, told: [predicted, untrained], size: 8, widths: [8, 16],
   num_blocks: 1, ema: [0.9, 0.9]}
optimization: {epochs: 3, warmup_epochs: 1, weight_decay: 0.0, final_weight_decay: 0.0}
batch: {size: 16, device: 8}
checkpoint: {every_steps: 3, every_minutes: null, keep_last: 9}
logging: {every: 1, tensorboard: false}
"""


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "step-00000012" / "state.safetensors")


def test_a_decoder_trains_resumes_and_imagines(jepa: Jepa, finished: Path, tmp_path: Path) -> None:
    model = shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "decoder.yaml").write_text(TINY)
    whole = jepa("pretrain", "decoder.yaml", "folder=whole", folder=tmp_path)
    assert whole.wait() == 0, whole.said

    first = jepa("pretrain", "decoder.yaml", "folder=parted", folder=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "parted" / "checkpoints" / "step-00000003").exists():
        assert first.is_running(), first.said
        assert time.monotonic() < deadline
        time.sleep(0.002)
    first.kill()
    shutil.move(model, tmp_path / "elsewhere")  # what it took from the model is in its checkpoint
    second = jepa("pretrain", "decoder.yaml", "folder=parted", folder=tmp_path)
    assert second.wait() == 0, second.said
    expected, found = tensors(tmp_path / "whole"), tensors(tmp_path / "parted")
    assert expected.keys() == found.keys()
    assert [k for k, value in expected.items() if not torch.equal(value, found[k])] == []
    trained = load_file(next((tmp_path / "elsewhere").glob("checkpoints/*40/state.safetensors")))
    assert not any(
        torch.equal(found[k], trained[k.replace("untrained", "context")])
        for k in found
        if k.startswith("objective/untrained_encoder.") and k.endswith("qkv.weight")
    )
    for name in ("context_encoder", "target_encoder", "predictor"):
        kept = [k for k in trained if k.startswith(f"objective/{name}.")]
        assert kept
        assert all(torch.equal(trained[k], found[k]) for k in kept)

    drawn = jepa(
        *("visualize", "elsewhere", "--what", "imagine", "--decoder", "parted", "--out", "out"),
        *("num_pictures=2", "imagine.steps=2", "imagine.samples=2"),
        folder=tmp_path,
    )
    assert drawn.wait() == 0, drawn.said
    assert (tmp_path / "out" / "imagine.png").stat().st_size > 1000
    assert "Imagined contents" in (tmp_path / "out" / "index.html").read_text()

    told = jepa(
        *("report", "elsewhere", "--decoder", "parted", "--out", "page.html", "num_pictures=2"),
        *("imagine.steps=2", "imagine.samples=2", "retrieval.gallery=8", "energy.masks=4"),
        folder=tmp_path,
    )
    assert told.wait() == 0, told.said
    assert "Imagined contents" in (tmp_path / "page.html").read_text()

    scored = jepa(
        *("bench", "imagine", "elsewhere", "parted", "--data", "scenes", "--out", "scores.json"),
        *("imagine.pictures=4", "imagine.steps=1", "imagine.samples=1"),
        folder=tmp_path,
    )
    assert scored.wait() == 0, scored.said
    assert "objective.told=[predicted,target,untrained] trains" in " ".join(scored.said.split())
    distances = json.loads((tmp_path / "scores.json").read_text())["distances"]
    assert all(numbers["feature_distance"] > 0 for numbers in distances.values())


def test_mistakes_are_told(jepa: Jepa, finished_copy: Path) -> None:
    folder = finished_copy.parent
    (folder / "decoder.yaml").write_text(TINY.replace("model: run, ", ""))

    def told(*words: str) -> str:
        command = jepa(*words, folder=folder)
        assert command.wait() != 0
        assert "Traceback" not in command.said
        return " ".join(command.said.split())

    assert "write objective.model=runs/NAME" in told("pretrain", "decoder.yaml")
    assert "there is no nowhere" in told("pretrain", "decoder.yaml", "objective.model=nowhere")
    lacking = told("visualize", "run", "--what", "imagine", "num_pictures=2")
    assert "--decoder RUN" in lacking
    assert "is no decoder" in told("visualize", "run", "--what", "imagine", "--decoder", "run")
