"""`jepa export` from a run: its card, what fewer bits cost, and what is refused before the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from jepakit.commands import export as command
from jepakit.core.checkpoint import write_state
from jepakit.core.state import State
from jepakit.data.normalization import IMAGENET, Normalizer
from jepakit.data.sources import build_source
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.evaluation.comparison import Comparison, Score
from jepakit.models import Encoder
from jepakit.runs.config import RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.networks import build_networks
from jepakit.runs.rounding_loss import rounding_loss
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import check, to_yaml

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished(tmp_path / "my-run")


def finished(path: Path, **data: object) -> Path:
    """A run folder as a training leaves it behind, evaluated."""
    folder = RunFolder(path)
    config = check(
        RunConfig,
        {
            "folder": str(path),
            "data": {
                "source": {"kind": "scenes", "num_pictures": 8, "size": 32},
                "view": {"size": 32},
                **data,
            },
            "encoder": {"size": None, "width": 24, "depth": 1, "num_heads": 3, "patch": 8},
            "predictor": {"width": 12, "depth": 1},
        },
    )
    objective = build_networks(config, 3, CPU).objective
    tensors = {f"objective/{name}": t for name, t in objective.state_dict().items()}
    facts = {"step": 7, "num_channels": 3, "normalization": IMAGENET.model_dump()}
    checkpoint = folder.checkpoints / "step-00000007"
    checkpoint.mkdir(parents=True)
    write_state(checkpoint, State(tensors, facts))
    folder.config.write_text(to_yaml(config))
    folder.metrics.write_text("step,epoch,name,value\n1,0,loss,0.5\n7,1,loss,0.25\n")
    scores = {"my-run": {"knn_20": Score(value=0.5, low=0.4, high=0.6)}}
    Comparison(num_pictures=9, scores=scores, chosen={}).save(folder.scores)
    return path


def export(run: Path, to: str, out: Path, **options: object) -> int:
    return command.export_named(str(run), to, out, options)


def test_the_card_is_filled_from_the_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert export(run, "huggingface", out, licence="apache-2.0") == 0
    told = capsys.readouterr().out
    assert "the target encoder; 54 tensors used" in told
    for words in ("jepakit, the run's pictures, 32 x 32", "transformers, random pictures of"):
        assert words in told
    assert "the target encoder, the context encoder, the predictor for huggingface; largest" in told

    card = (out / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "apache-2.0"
    assert front["pipeline_tag"] == "image-feature-extraction"
    for words in (
        *("kind: scenes", "| optimizer steps | 7 |", "| my-run | 50.0 (40.0–60.0) |"),
        "| views | 32 x 32 pixels, crops of 0.3 to 1 of the area |",
        *("curves-loss.svg", "width 24, depth 1, 3 heads", "context encoder and the predictor"),
    ):
        assert words in card
    assert str(tmp_path) not in card.split("## Data")[1]
    assert str(tmp_path) not in (out / "config.yaml").read_text()
    drawing = (out / "curves-loss.svg").read_text()
    assert drawing.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert "var(--" not in drawing
    assert json.loads((out / "config.json").read_text())["model_type"] == "ijepa"


def test_another_branch_and_another_size(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    assert export(run, "safetensors", out, branch="context", size="48,32") == 0
    loaded = load_weights(str(out), CPU, "context")
    assert loaded.size == (48, 32)
    assert next(iter(loaded.weights().networks)) == "context_encoder"
    with pytest.raises(ValueError, match="choose 40 x 40"):
        export(run, "safetensors", tmp_path / "b.safetensors", size="41")


@torch.no_grad()
def test_a_run_that_is_tested_at_another_size_is_exported_for_it(tmp_path: Path) -> None:
    run = finished(tmp_path / "my-run", test_size=48)
    opened = load_weights(str(run), CPU)
    assert opened.size == (48, 48)
    assert opened.encoder.rows_and_columns(32, 32) == opened.encoder.grid  # as it was trained
    out = tmp_path / "out"
    assert export(run, "huggingface", out) == 0
    again = load_weights(str(out), CPU)
    assert (again.size, again.encoder.grid) == ((48, 48), (6, 6))
    views = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(again.encoder(views), opened.encoder(views))
    crop = json.loads((out / "preprocessor_config.json").read_text())["crop_size"]
    assert crop == {"height": 48, "width": 48}
    assert export(run, "safetensors", tmp_path / "a.safetensors", size="32") == 0
    assert load_weights(str(tmp_path / "a.safetensors"), CPU).size == (32, 32)


def test_mistakes_are_refused_before_the_work(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for to, options, words in (
        ("keras", {}, "--to keras is unknown: choose one of huggingface, timm"),
        ("timm", {"precision": "int8"}, "--precision int8 is for --to onnx"),
        ("timm", {"push": "a/b"}, "--push publishes what --to huggingface writes"),
        ("huggingface", {"push": "alone"}, "is no name on the Hub: write --push ORG/NAME"),
        ("huggingface", {"branch": "both"}, "branch"),
        ("huggingface", {"size": "big"}, "size"),
    ):
        with pytest.raises(ValueError, match=words):
            export(run, to, out, **options)
    assert not out.exists()


@torch.no_grad()
def test_what_rounding_costs_is_measured_on_labelled_pictures() -> None:
    torch.manual_seed(0)
    settings = Encoder.Settings(size=None, width=24, depth=1, num_heads=3, patch=8)
    encoder = Encoder(settings, 3, (32, 32)).eval()
    source = build_source(ProceduralScenes.Settings(num_pictures=48, size=(32, 32)))
    normalise = Normalizer(IMAGENET)
    same = rounding_loss(encoder, encoder.pooled, source, normalise, (32, 32))
    assert same.num_pictures == 48
    assert same.largest == 0
    assert same.cosine == pytest.approx(1)
    assert same.agreement == 1
    assert same.knn is not None
    assert same.knn[0] == same.knn[1]
    noise = torch.Generator().manual_seed(0)
    other = rounding_loss(
        encoder,
        lambda views: torch.randn((len(views), 24), generator=noise),
        *(source, normalise, (32, 32)),
    )
    assert other.largest > 1
    assert other.cosine < 0.5
    assert other.agreement is not None
    assert other.agreement < 1
    assert "k-NN" in str(other)
