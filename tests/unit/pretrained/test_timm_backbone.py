"""Models of timm as backbones: the same features, the right parameters, and clear refusals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from timm.models import eva
from timm.models.vision_transformer import VisionTransformer

from jepakit.pretrained.timm import TimmBackbone, open_timm

NAME = "vit_tiny_patch16_224"


def small(**options: Any) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=24,
        depth=3,
        num_heads=3,
        **{"num_classes": 0, **options},
    ).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.fixture(scope="module")
def tiny() -> tuple[TimmBackbone, tuple[int, int]]:
    torch.manual_seed(0)
    backbone, _, size = open_timm(NAME, pretrained=False)
    return backbone.eval(), size


@torch.no_grad()
def test_a_named_model_gives_timms_own_features(tiny: tuple[TimmBackbone, tuple[int, int]]) -> None:
    backbone, size = tiny
    assert (backbone.width, backbone.depth, backbone.num_channels) == (192, 12, 3)
    views = torch.randn(1, 3, *size)
    (tokens,) = backbone.last_layers(views, 1)
    theirs = backbone.model.forward_features(views)[:, 1:].mean(1)  # type: ignore[operator]
    assert tokens.shape == (1, 196, 192)
    torch.testing.assert_close(tokens.mean(1), theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_class_and_register_tokens_are_left_out() -> None:
    model = small(class_token=True, reg_tokens=4)
    views = torch.randn(2, 3, 32, 32)
    layers = TimmBackbone(model).last_layers(views, 2)
    theirs = model.forward_features(views)
    assert [layer.shape for layer in layers] == [(2, 16, 24)] * 2
    torch.testing.assert_close(layers[-1].mean(1), theirs[:, 5:].mean(1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_layers_are_in_order_and_only_the_last_is_normed() -> None:
    model = small(class_token=False, global_pool="avg", fc_norm=False)
    backbone = TimmBackbone(model)
    views = torch.randn(2, 3, 32, 32)
    first, second, third = backbone.last_layers(views, 3)
    torch.testing.assert_close(model.blocks[1](first), second)
    torch.testing.assert_close(model.norm(model.blocks[2](second)), third)
    assert len(backbone.last_layers(views, 99)) == 3


@torch.no_grad()
def test_another_family_with_rotary_positions() -> None:
    torch.manual_seed(0)
    model = eva.Eva(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=0,
        use_rot_pos_emb=True, num_reg_tokens=2,
    ).eval()  # fmt: skip
    backbone = TimmBackbone(model)
    views = torch.randn(2, 3, 32, 32)
    (tokens,) = backbone.last_layers(views, 1)
    theirs = model.forward_features(views)[:, model.num_prefix_tokens :]
    assert tokens.shape == (2, 16, 24)
    torch.testing.assert_close(tokens, theirs, rtol=0, atol=1e-5)
    assert len(backbone.parameters_by_depth()) == 4


def test_parameters_go_from_the_input_to_the_output() -> None:
    model = small(reg_tokens=2)
    groups = TimmBackbone(model).parameters_by_depth()
    assert len(groups) == 3 + 2
    numbers = {id(parameter): number for number, group in enumerate(groups) for parameter in group}
    assert len(numbers) == sum(len(group) for group in groups) == len(list(model.parameters()))
    places = {name: numbers[id(parameter)] for name, parameter in model.named_parameters()}
    assert places["cls_token"] == places["reg_token"] == places["pos_embed"] == 0
    assert places["patch_embed.proj.weight"] == 0
    assert places["blocks.0.attn.qkv.weight"] == 1
    assert places["blocks.2.mlp.fc2.bias"] == 3
    assert places["norm.weight"] == 4


def test_what_only_pools_is_not_among_the_parameters() -> None:
    model = small(num_classes=7, global_pool="avg")  # fc_norm and a head
    listed = {id(p) for group in TimmBackbone(model).parameters_by_depth() for p in group}
    left_out = {n.split(".")[0] for n, p in model.named_parameters() if id(p) not in listed}
    assert left_out == {"fc_norm", "head"}


def test_gradients_reach_every_parameter() -> None:
    backbone = TimmBackbone(small(reg_tokens=2))
    (tokens,) = backbone.last_layers(torch.randn(2, 3, 32, 32), 1)
    (tokens * torch.randn_like(tokens)).sum().backward()
    grads = [parameter.grad for group in backbone.parameters_by_depth() for parameter in group]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)


def test_statistics_and_size_are_the_models_own() -> None:
    _, statistics, size = open_timm("deit_tiny_patch16_224", pretrained=False)
    assert statistics.mean == (0.485, 0.456, 0.406)
    assert statistics.std == (0.229, 0.224, 0.225)
    assert size == (224, 224)


@torch.no_grad()
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_come_from_a_local_file_at_any_size(
    tmp_path: Path, suffix: str, tiny: tuple[TimmBackbone, tuple[int, int]]
) -> None:
    state = {k: v.clone() for k, v in tiny[0].model.state_dict().items()}
    state |= {"head.weight": torch.zeros(5, 192), "head.bias": torch.zeros(5)}
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, file)
    else:
        pytest.importorskip("safetensors.torch").save_file(state, file)
    backbone, _, size = open_timm(f"{NAME}@{file}", pretrained=True, size=(64, 64))
    assert size == (64, 64)
    assert backbone.last_layers(torch.zeros(1, 3, 64, 64), 1)[0].shape == (1, 16, 192)
    loaded = backbone.model.state_dict()
    torch.testing.assert_close(loaded["blocks.5.mlp.fc1.weight"], state["blocks.5.mlp.fc1.weight"])
    torch.testing.assert_close(loaded["norm.bias"], state["norm.bias"])


def test_a_file_of_another_model_is_refused(
    tmp_path: Path, tiny: tuple[TimmBackbone, tuple[int, int]]
) -> None:
    state = tiny[0].model.state_dict()
    file = tmp_path / "weights.pth"
    torch.save({k: v for k, v in state.items() if k != "norm.bias"}, file)
    with pytest.raises(ValueError, match=r"does not hold.*own name before the @.*norm\.bias"):
        open_timm(f"{NAME}@{file}")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_and_missing_files_are_refused(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    with pytest.raises(ValueError, match="there is no file"):
        open_timm(f"{NAME}@{file}")
    for content in (b"", b"not weights at all", b"\x02\0\0\0\0\0\0\0{}and more"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="damaged or not a file of weights"):
            open_timm(f"{NAME}@{file}")


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"no model 'vit_tiny_patch16_225': did you mean.*_224"):
        open_timm("vit_tiny_patch16_225", pretrained=False)


def test_convolutional_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no plain vision transformer.*choose one"):
        TimmBackbone(timm.create_model("test_resnet", num_classes=0))


def test_without_a_connection_a_local_file_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(*_: Any, **__: Any) -> None:
        asked.append(huggingface_hub.constants.HF_HUB_OFFLINE)
        raise ConnectionError("no route to huggingface.co")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", download)
    for has_network in (True, False):
        monkeypatch.setattr("jepakit.pretrained.timm.hub_has_network", lambda: has_network)  # noqa: B023
        with pytest.raises(ValueError, match=rf"cannot be downloaded \(no route.*timm:{NAME}@FILE"):
            open_timm(NAME, pretrained=True)
    assert asked == [False, True]  # without a network it does not try for a minute
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_without_timm_its_installation_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="pip install timm"):
        open_timm(NAME, pretrained=False)
