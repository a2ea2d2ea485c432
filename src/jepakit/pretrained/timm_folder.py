"""Folders that timm opens as `local-dir:FOLDER`: one of its models, and its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from jepakit.data.normalization import Statistics
from jepakit.models.patches import as_pair
from jepakit.models.sizes import Size
from jepakit.pretrained.architecture import Known, describe
from jepakit.pretrained.companions import main_network, read_companions, write_companions
from jepakit.pretrained.tensor_files import read_safetensors
from jepakit.pretrained.weights import CONTEXT, ENCODER, Description, StateDict, Weights

CONFIG, MODEL = "config.json", "model.safetensors"
# timm's plain transformer, to which `model_args` gives any other shape; and the released ones.
_GENERAL = "vit_base_patch16_224"
_RELEASED = {
    ("vit_huge", 14, 224): "vit_huge_patch14_gap_224",
    ("vit_huge", 16, 448): "vit_huge_patch16_gap_448",
    ("vit_giant", 16, 224): "vit_giant_patch16_gap_224",
}
# Without class token, pooled after the norm: what an I-JEPA encoder is in timm's words.
_PLAIN = {"class_token": False, "global_pool": "avg", "fc_norm": False}


def is_timm(folder: Path) -> bool:
    """Whether a folder's `config.json` describes a model of timm."""
    return (folder / CONFIG).is_file() and "architecture" in _config(folder)


def is_ours(state: StateDict) -> bool:
    """Whether these are the tensors of a transformer as ours: no class token, nothing more."""
    beginnings = ("patch_embed.proj.", "pos_embed", "blocks.", "norm.")
    plain = all(name.startswith(beginnings) for name in state) and "norm.weight" in state
    inside = {".".join(n.split(".")[2:]) for n in state if n.startswith("blocks.")}
    layers = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    return plain and inside == {
        f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")
    }


def read_timm_folder(folder: Path) -> Weights | None:
    """The encoder of a folder of timm's, with our companions; None if it is no encoder as ours."""
    config = _config(folder)
    if not (folder / MODEL).is_file():
        raise ValueError(f"{folder} holds no {MODEL}: the folder is not whole")
    state = read_safetensors(folder / MODEL)[0]
    facts, beside = read_companions(folder)
    if not is_ours(state):
        return None
    main = facts.main if facts else ENCODER
    if "ijepa" in str(config.get("pretrained_cfg", {}).get("tag", "")):
        main = CONTEXT
    description = (
        facts.description if facts else describe({main: state}, str(folder), _known(config))
    )
    used = [*state, *(f"{n}.safetensors: {key}" for n, keys in beside.items() for key in keys)]
    return Weights({main: state, **beside}, description, tuple(used))


def write_timm_folder(weights: Weights, folder: Path) -> None:
    """Write what `timm.create_model("local-dir:FOLDER", pretrained=True)` opens."""
    state = weights.networks[main_network(weights)]
    save_file({k: t.contiguous() for k, t in state.items()}, folder / MODEL, {"format": "pt"})
    content = json.dumps(_written_config(weights.description), indent=2)
    (folder / CONFIG).write_text(content + "\n", encoding="utf-8")
    write_companions(weights, folder)


def _written_config(description: Description) -> dict[str, Any]:
    size = description.encoder.resolved()
    height, width = description.size
    statistics = description.normalization
    return {
        "architecture": architecture(description),
        "num_classes": 0,
        "num_features": size.width,
        "global_pool": "avg",
        "model_args": {**_model_args(description, size), **_PLAIN},
        "pretrained_cfg": {
            "tag": "jepakit",
            "custom_load": False,
            "input_size": [description.num_channels, height, width],
            "fixed_input_size": True,
            "interpolation": "bilinear",
            "crop_pct": 0.875,
            "crop_mode": "center",
            "mean": list(statistics.mean),
            "std": list(statistics.std),
            "num_classes": 0,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def architecture(description: Description) -> str:
    """timm's name for the released shapes; its plain transformer for all others."""
    height, width = description.size
    patch = description.encoder.patch
    if height != width or not isinstance(patch, int):
        return _GENERAL
    return _RELEASED.get((str(description.encoder.size), patch, height), _GENERAL)


def _model_args(description: Description, size: Size) -> dict[str, Any]:
    return {
        "img_size": list(description.size),
        "patch_size": list(as_pair(description.encoder.patch)),
        "in_chans": description.num_channels,
        "embed_dim": size.width,
        "depth": size.depth,
        "num_heads": size.num_heads,
        "mlp_ratio": size.mlp_ratio,
    }


def _known(config: dict[str, Any]) -> Known:
    written = config.get("pretrained_cfg", config)
    arguments = config.get("model_args", {})
    size = arguments.get("img_size", written.get("input_size", [3, 224, 224])[-2:])
    height, width = size if isinstance(size, list) else (size, size)
    statistics = None
    if "mean" in written and "std" in written:
        statistics = Statistics(mean=tuple(written["mean"]), std=tuple(written["std"]))
    return Known(arguments.get("num_heads"), (height, width), statistics)


def _config(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / CONFIG} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{folder / CONFIG} is no mapping of names to values")
    return content
