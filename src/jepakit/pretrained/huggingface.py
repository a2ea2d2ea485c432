"""Folders of Hugging Face's `IJepaModel`: their names, read and written without that library."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from jepakit.data.normalization import Statistics
from jepakit.models.patches import as_pair
from jepakit.pretrained.architecture import Known, describe
from jepakit.pretrained.companions import main_network, read_companions, write_companions
from jepakit.pretrained.huggingface_names import from_theirs, to_theirs
from jepakit.pretrained.sorting import flattened
from jepakit.pretrained.tensor_files import read_pickled, read_safetensors
from jepakit.pretrained.weights import CONTEXT, ENCODER, Description, StateDict, Weights

CONFIG, MODEL, PROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
_EPSILON = 1e-6
_MARGIN = 0.875  # share of the shorter side that is kept, as in our own centre views

_HEADS = ("classifier.", "pooler.", "ijepa.pooler.")
# Conversions of the released files, all made from `encoder` (not from `target_encoder`).
_OFFICIAL = re.compile(r"(facebook|jmtzt)/ijepa_")


def is_huggingface(folder: Path) -> bool:
    """Whether a folder's `config.json` describes a model of transformers."""
    return "model_type" in _json(folder / CONFIG) if (folder / CONFIG).is_file() else False


def read_huggingface(folder: Path, name: str) -> Weights:
    """The encoder of a folder, and what an export of ours left beside it.

    `ValueError` for another kind of model, a damaged file, or settings that ours do not have.
    """
    config = _json(folder / CONFIG)
    _check_config(config, folder)
    tensors = _tensors(folder)
    state, used, unused = from_theirs(tensors)
    if "patch_embed.proj.weight" not in state:
        raise ValueError(f"{folder} holds no IJepaModel: its tensors have other names")
    facts, beside = read_companions(folder)
    main = facts.main if facts else CONTEXT if _OFFICIAL.search(name) else ENCODER
    remark = "" if facts else _remark(main)
    description = (
        facts.description if facts else describe({main: state}, name, _known(folder, config))
    )
    used += [f"{network}.safetensors: {key}" for network, keys in beside.items() for key in keys]
    heads = tuple(name for name in unused if name.startswith(_HEADS))
    return Weights(
        networks={main: state, **beside},
        description=description,
        used=tuple(used),
        unused=tuple(name for name in unused if name not in heads),
        beside=heads,
        remark=remark,
    )


def _remark(main: str) -> str:
    if main == CONTEXT:
        return "conversions of the released weights hold the context encoder, without predictor"
    return (
        "which branch this one encoder is was not written down "
        "(conversions of the released weights hold the context encoder)"
    )


def _check_config(config: dict[str, Any], folder: Path) -> None:
    kind = config.get("model_type")
    if kind != "ijepa":
        raise ValueError(f"{folder} is a model of the kind {kind}, not ijepa: give one of I-JEPA")
    epsilon = config.get("layer_norm_eps", 1e-12)
    if epsilon != _EPSILON:
        raise ValueError(
            f"the layer norms of {folder} add {epsilon:g} and I-JEPA's add {_EPSILON:g}: set "
            f"layer_norm_eps to {_EPSILON:g} in its config.json if you accept other outputs"
        )
    if config.get("hidden_act", "gelu") != "gelu" or not config.get("qkv_bias", True):
        raise ValueError(f"{folder} has no GELU or no bias of q, k and v: it is no usual I-JEPA")


def _known(folder: Path, config: dict[str, Any]) -> Known:
    size = config.get("image_size", 224)
    statistics = None
    if (folder / PROCESSOR).is_file():
        processor = _json(folder / PROCESSOR)
        if processor.get("image_mean") and processor.get("image_std"):
            statistics = Statistics(
                mean=tuple(processor["image_mean"]), std=tuple(processor["image_std"])
            )
    height, width = size if isinstance(size, list) else (size, size)
    return Known(config.get("num_attention_heads", 12), (height, width), statistics)


def _tensors(folder: Path) -> StateDict:
    """Of `model.safetensors`, of its shards, or of the older `pytorch_model.bin`."""
    index = folder / f"{MODEL}.index.json"
    if (folder / MODEL).is_file():
        return read_safetensors(folder / MODEL)[0]
    if index.is_file():
        files = sorted(set(_json(index).get("weight_map", {}).values()))
        return {
            k: t for file in files for k, t in read_safetensors(folder / Path(file).name)[0].items()
        }
    if (folder / "pytorch_model.bin").is_file():
        return flattened(read_pickled(folder / "pytorch_model.bin"))
    raise ValueError(f"{folder} holds no {MODEL}: the folder is not whole")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no mapping of names to values")
    return content


def write_huggingface(weights: Weights, folder: Path) -> None:
    """Write a folder that `AutoModel.from_pretrained` opens, with our companions beside."""
    main = main_network(weights)
    tensors = {k: t.contiguous().clone() for k, t in to_theirs(weights.networks[main]).items()}
    save_file(tensors, folder / MODEL, {"format": "pt"})
    _write(folder / CONFIG, _config(weights.description))
    _write(folder / PROCESSOR, _processor(weights.description))
    write_companions(weights, folder)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _config(description: Description) -> dict[str, Any]:
    size = description.encoder.resolved()
    return {
        "architectures": ["IJepaModel"],
        "model_type": "ijepa",
        "hidden_size": size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.num_heads,
        "intermediate_size": int(size.width * size.mlp_ratio),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "layer_norm_eps": _EPSILON,
        "image_size": _one_if_square(description.size),
        "patch_size": _one_if_square(as_pair(description.encoder.patch)),
        "num_channels": description.num_channels,
        "qkv_bias": True,
        "dtype": "float32",
    }


def _processor(description: Description) -> dict[str, Any]:
    """The middle of a picture, resized as our evaluations resize it."""
    height, width = description.size
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": description.num_channels == 3,
        "do_resize": True,
        "size": {"shortest_edge": round(min(height, width) / _MARGIN)},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(description.normalization.mean),
        "image_std": list(description.normalization.std),
    }


def _one_if_square(pair: tuple[int, int]) -> int | list[int]:
    return pair[0] if pair[0] == pair[1] else list(pair)


def open_with_transformers(folder: Path) -> Any:
    """The folder's model as transformers itself opens it, to compare with. `ValueError`."""
    try:
        from transformers import AutoModel
        from transformers.utils import logging
    except ImportError:
        raise ValueError(
            "a folder for transformers is checked with it: pip install 'jepakit[hub]'"
        ) from None
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return AutoModel.from_pretrained(folder, local_files_only=True).eval()
    finally:
        if shown:
            logging.enable_progress_bar()
