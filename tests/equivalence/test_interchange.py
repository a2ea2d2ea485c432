"""Every form of weights in its own reader: transformers, timm, onnxruntime, torch.export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.layers import resample_abs_pos_embed
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoModel, IJepaConfig, IJepaModel

from jepakit.commands.bench_interchange import (
    forms,
    random_pictures,
    random_weights,
    third_party_differences,
)
from jepakit.core.errors import RunFailed
from jepakit.data.normalization import Normalizer
from jepakit.data.sources.source import Pixels
from jepakit.data.views import CentreView
from jepakit.models import SIZES
from jepakit.pretrained.huggingface import write_huggingface
from jepakit.pretrained.timm_folder import architecture, write_timm_folder
from jepakit.pretrained.weights import TARGET, Description
from jepakit.runs import export
from jepakit.runs.export import FORMATS, Format, export_weights, main_encoder
from jepakit.runs.weights import load_weights

CPU = torch.device("cpu")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("to", ["huggingface", "timm"])
def test_every_size_computes_the_same_elsewhere(tmp_path: Path, size: str, to: Format) -> None:
    weights = random_weights(size, 1)  # of full width, for rounding grows with it
    found = third_party_differences(weights, to, tmp_path / "out")
    reader = "transformers" if to == "huggingface" else to
    assert found.keys() == {f"{reader}, 64 px", f"{reader}, 96 px"}
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize("to", ["onnx", "torch-export"])
def test_graphs_compute_the_same(tmp_path: Path, to: Format) -> None:
    ending = {"onnx": "a.onnx", "torch-export": "a.pt2"}[to]
    weights = random_weights("vit_tiny", 1)
    found = third_party_differences(weights, to, tmp_path / ending)
    assert len(found) == 2
    assert max(found.values()) < 1e-5


@torch.no_grad()
def test_transformers_opens_the_folder_by_itself(tmp_path: Path) -> None:
    weights = random_weights("vit_tiny", 2)
    write_huggingface(weights, tmp_path)
    model = AutoModel.from_pretrained(tmp_path, trust_remote_code=False).eval()
    assert type(model) is IJepaModel
    for side in (64, 96):
        views = torch.randn(2, 3, side, side)
        theirs = model(views, interpolate_pos_encoding=side != 64).last_hidden_state
        assert theirs.std() > 0.1
        ours = main_encoder(weights)(views)
        torch.testing.assert_close(ours, theirs, **CLOSE)
        torch.testing.assert_close(ours.mean(1), theirs.mean(1), **CLOSE)


def test_the_image_processor_looks_at_the_same_middle(tmp_path: Path) -> None:
    weights = random_weights("vit_tiny", 1)
    write_huggingface(weights, tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    rows, columns = np.mgrid[:300, :400]
    picture = np.stack([rows * 255 // 300, columns * 255 // 400, (rows + columns) % 256], 2)
    pixels = picture.astype(np.uint8)
    theirs = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    view = CentreView(CentreView.Settings(size=(64, 64)))(Pixels(pixels))
    ours = Normalizer(weights.description.normalization)(view[None])
    assert theirs.shape == ours.shape == (1, 3, 64, 64)
    smooth = theirs[:, :2] - ours[:, :2]  # the third channel has edges, which move with the crop
    assert smooth.abs().max() < 0.06  # three grey levels


@torch.no_grad()
def test_a_model_saved_by_transformers_opens_here(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = IJepaConfig(
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"intermediate_size": 96, "image_size": 32, "patch_size": 8, "layer_norm_eps": 1e-6},
    )
    model = IJepaModel(config).eval()
    model.save_pretrained(tmp_path)
    loaded = load_weights(str(tmp_path), CPU)
    views = torch.randn(2, 3, 32, 32)
    theirs = model(views).last_hidden_state
    torch.testing.assert_close(loaded.encoder.last_layers(views, 1)[0], theirs, **CLOSE)
    assert set(loaded.report.used) == set(_saved_names(tmp_path))
    assert loaded.report.unused == loaded.report.missing == ()


def _saved_names(folder: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return list(file.keys())


@torch.no_grad()
def test_timm_at_another_size_differs_by_its_positions_alone(tmp_path: Path) -> None:
    """timm resamples positions with antialiasing (and another cubic), ours and HF's without."""
    weights = random_weights("vit_tiny", 2)
    write_timm_folder(weights, tmp_path)
    model = timm.create_model(
        f"local-dir:{tmp_path}", pretrained=True, dynamic_img_size=True, img_size=64
    ).eval()
    views = torch.randn(2, 3, 96, 96)
    encoder = main_encoder(weights)
    theirs = model.forward_features(views)
    assert (encoder(views) - theirs).abs().max() > 1e-3
    encoder.pos_embed = resample_abs_pos_embed(
        encoder.pos_embed, new_size=[6, 6], num_prefix_tokens=0
    )
    encoder.grid = (6, 6)
    torch.testing.assert_close(encoder(views), theirs, **CLOSE)


@torch.no_grad()
def test_timms_own_models_open_as_ours_and_others_as_theirs(tmp_path: Path) -> None:
    weights = random_weights("vit_tiny", 1)
    (tmp_path / "a").mkdir()
    write_timm_folder(weights, tmp_path / "a")
    loaded = load_weights(f"timm:{tmp_path / 'a'}", CPU)
    assert loaded.branch == "target"
    with_class_token = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64)
    torch.save(with_class_token.state_dict(), tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"class token .*timm:"):
        load_weights(str(tmp_path / "b.pth"), CPU)


RELEASED = {
    ("vit_huge", 14, 224): "vit_huge_patch14_gap_224",
    ("vit_huge", 16, 448): "vit_huge_patch16_gap_448",
    ("vit_giant", 16, 224): "vit_giant_patch16_gap_224",
    ("vit_small", 16, 224): "vit_base_patch16_224",
}


@pytest.mark.parametrize("size", RELEASED)
def test_released_shapes_get_timms_own_names(size: tuple[str, int, int]) -> None:
    description = Description(
        encoder={"size": size[0], "patch": size[1]},  # type: ignore[arg-type]
        size=(size[2], size[2]),
    )
    assert architecture(description) == RELEASED[size]
    assert timm.is_model(RELEASED[size])


def test_what_differs_is_not_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random_weights("vit_tiny", 1)
    before = tmp_path / "out"
    before.mkdir()
    (before / "mine.txt").write_text("kept")
    pictures = random_pictures(weights)
    with pytest.raises(ValueError, match=r"is there already: .* add --overwrite"):
        export_weights(weights, "huggingface", before, pictures)

    def broken(weights: object, path: Path, precision: str) -> dict[str, export.Reader]:
        (path / "half").write_text("written")
        return {"somebody": lambda views: torch.zeros(len(views), views.shape[-1] ** 2 // 256, 192)}

    monkeypatch.setitem(export._WRITERS, "huggingface", broken)
    with pytest.raises(RunFailed, match="differs, so nothing was written: somebody"):
        export_weights(weights, "huggingface", before, pictures, overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_endings_and_overwriting(tmp_path: Path) -> None:
    weights = random_weights("vit_tiny", 1)
    pictures = random_pictures(weights, ((64, 64),))
    with pytest.raises(ValueError, match=r"call it a\.safetensors"):
        export_weights(weights, "safetensors", tmp_path / "a", pictures)
    with pytest.raises(ValueError, match=r"leave \.onnx out"):
        export_weights(weights, "timm", tmp_path / "a.onnx", pictures)
    for _ in range(2):
        (found,) = export_weights(
            weights, "safetensors", tmp_path / "a.safetensors", pictures, overwrite=True
        )
        assert found.tokens == found.pooled == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_fewer_bits_cost_what_is_said(tmp_path: Path, precision: str) -> None:
    weights = random_weights("vit_tiny", 1)
    path = tmp_path / "a.onnx"
    found = export_weights(
        weights,
        "onnx",
        path,
        random_pictures(weights),
        precision=precision,  # type: ignore[arg-type]
    )
    limits = {"fp16": (1e-5, 0.05), "int8": (1e-3, 0.8)}[precision]
    for difference in found:
        assert limits[0] < difference.tokens < limits[1]
    full = sum(t.numel() * 4 for t in weights.networks[TARGET].values())
    assert path.stat().st_size < {"fp16": 0.6, "int8": 0.55}[precision] * full
    views: Tensor = random_pictures(weights)["random pictures of 64 px"]
    ours = main_encoder(weights).pooled(views)
    theirs = export.OnnxEncoder(path)(views)[1]
    assert F.cosine_similarity(ours, theirs).min() > {"fp16": 0.9999, "int8": 0.98}[precision]


@pytest.mark.slow
def test_every_cell_of_the_table(tmp_path: Path) -> None:
    table = dict(forms(tmp_path))
    assert len(table) == 5
    for row in table.values():
        assert row.keys() == set(FORMATS)
        assert max(row.values()) < 1e-5
        assert row["meta"] == row["safetensors"] == 0


def test_every_form_is_tried() -> None:
    assert set(FORMATS) == set(export._WRITERS)
