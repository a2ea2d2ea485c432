"""What can be opened for looking: runs, their checkpoints, and the reference's files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from jepakit.data.normalization import IMAGENET
from jepakit.pretrained.meta import networks_of
from jepakit.runs.networks import build_networks
from jepakit.runs.subjects import fingerprint_of, open_candidates
from jepakit.runs.trained import _config_of, open_trained

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A tiny `.pth.tar` beside the file that describes it."""
    content = yaml.safe_load((ROOT / "configs/in1k_vith14_ep300.yaml").read_text())
    content["data"]["crop_size"] = 64
    content["mask"]["patch_size"] = 8
    content["mask"]["min_keep"] = 0
    content["meta"] |= {"model_name": "vit_tiny", "pred_depth": 1, "pred_emb_dim": 24}
    params = tmp_path / "params-ijepa.yaml"
    params.write_text(yaml.safe_dump(content))
    objective = build_networks(_config_of(params), 3, CPU).objective
    with torch.no_grad():
        for parameter in objective.kept_encoder().parameters():
            parameter.add_(0.1)  # the target encoder is another one
    file = tmp_path / "jepa-latest.pth.tar"
    torch.save({**networks_of(objective.state_dict()), "opt": None, "epoch": 3}, file)
    return file


def test_a_file_of_the_reference_opens_beside_its_description(reference: Path) -> None:
    trained = open_trained(reference, CPU)
    saved = torch.load(reference, weights_only=True)["target_encoder"]
    for name, value in trained.objective.kept_encoder().state_dict().items():
        assert torch.equal(saved[f"module.{name}"], value)
    assert trained.normalise.statistics == IMAGENET
    assert trained.step is None


def test_a_file_without_description_says_how_to_name_one(reference: Path, tmp_path: Path) -> None:
    params = reference.parent / "params-ijepa.yaml"
    elsewhere = params.rename(tmp_path / "elsewhere.yaml")
    with pytest.raises(ValueError, match=r"@configs/in1k_vith14_ep300.yaml"):
        open_trained(reference, CPU)
    assert open_trained(Path(f"{reference}@{elsewhere}"), CPU).config.encoder.size == "vit_tiny"


def test_target_context_or_both(reference: Path) -> None:
    target, context = open_candidates(str(reference), CPU, "both")
    assert [c.subject.name.split(" ", 1)[1] for c in (target, context)] == [
        "(target encoder)",
        "(context encoder)",
    ]
    assert target.subject.fingerprint != context.subject.fingerprint
    assert target.untrained().fingerprint == context.untrained().fingerprint
    (alone,) = open_candidates(str(reference), CPU, "context")
    assert alone.subject.fingerprint == context.subject.fingerprint


def test_fingerprints_follow_the_weights() -> None:
    torch.manual_seed(0)
    network, scale = torch.nn.Linear(3, 2), torch.nn.LayerNorm(3)
    before = fingerprint_of(network, scale)
    assert fingerprint_of(network, scale) == before
    with torch.no_grad():
        network.bias[1] += 1e-6
    assert fingerprint_of(network, scale) != before
