"""The reference implementation's YAML files, word for word: to a RunConfig and back."""

from __future__ import annotations

import logging
import os
from pathlib import PurePosixPath
from typing import Any

from jepakit.data.sources.image_folder import find_splits
from jepakit.models.patches import as_pair
from jepakit.runs.config import RunConfig, differences
from jepakit.runs.reference_keys import Data, Mask, Optimization, ReferenceFile, check_file
from jepakit.runs.yaml_file import check

log = logging.getLogger(__name__)

EPOCHS_BETWEEN_KEPT_CHECKPOINTS = 50


def is_reference(content: dict[str, Any]) -> bool:
    """Whether a file is in the reference's words: it has `mask` or `meta`; ours never does."""
    return "mask" in content or "meta" in content


def from_reference(content: dict[str, Any], num_devices: int) -> RunConfig:
    """The run that a reference file describes on `num_devices` devices.

    `data.batch_size` is per device in the reference; ours is global. An unknown or missing key, a
    value out of range and a setting that is not supported are `ValueError`s that name the key.
    """
    file = check_file(content)
    if file.meta.copy_data:
        raise ValueError(
            "meta.copy_data: true is not supported: copy the pictures to the local disk yourself, "
            "set data.root_path to the copy, and set meta.copy_data: false"
        )
    if not file.data.pin_mem:
        log.info("data.pin_mem: false changes nothing: memory is pinned on CUDA and only there")
    _refuse_placeholders(file)
    described = {
        "folder": _expanded(file.logging.folder),
        "seed": 0,
        "precision": "bf16" if file.meta.use_bfloat16 else "fp32",
        "data": _data(file.data),
        "masking": _masking(file.mask),
        "encoder": {
            "size": file.meta.model_name,
            "patch": file.mask.patch_size,
            "initialisation": "released",
        },
        "predictor": {
            "width": file.meta.pred_emb_dim,
            "depth": file.meta.pred_depth,
            "initialisation": "released",
        },
        "objective": {"kind": "ijepa", "loss": "smooth_l1", "ema": file.optimization.ema},
        "optimization": _optimization(file.optimization),
        "batch": {"size": file.data.batch_size * num_devices, "device": file.data.batch_size},
        "checkpoint": {"keep_every_epochs": EPOCHS_BETWEEN_KEPT_CHECKPOINTS},
        "reference_outputs": {
            "tag": file.logging.write_tag,
            "continue_from": _checkpoint_to_read(file),
        },
    }
    return check(RunConfig, described)


def to_reference(config: RunConfig) -> dict[str, Any]:
    """The reference file that comes closest to a run; exact for every run that began as one.

    `ValueError` for masks that its keys cannot express at all; see `beyond_reference` for the rest.
    """
    return {
        "data": _data_of(config),
        "logging": {"folder": str(config.folder), "write_tag": _tag(config)},
        "mask": _mask_of(config),
        "meta": _meta_of(config),
        "optimization": _optimization_of(config),
    }


def beyond_reference(config: RunConfig) -> list[str]:
    """What decides about a run and `to_reference` cannot say: `name: in the run -> in the file`."""
    file = to_reference(config)
    try:
        again = from_reference(file, max(1, config.batch.size // file["data"]["batch_size"]))
    except ValueError as error:
        return [str(error)]
    return differences(config, again)


def check_pictures(config: RunConfig) -> None:
    """`ValueError` in the reference's words unless its pictures lie where the file says."""
    source = config.data.source
    if config.reference_outputs is None or source.kind != "folder":
        return
    where = "data.root_path and data.image_folder must name the folder that holds train/<class>/"
    if not source.path.is_dir():
        raise ValueError(f"there is no folder {source.path}: {where}")
    if source.split == "train" and "train" not in find_splits(source.path):
        raise ValueError(f"{source.path} holds no folder train: {where}")


def _refuse_placeholders(file: ReferenceFile) -> None:
    paths = {"data.root_path": file.data.root_path, "logging.folder": file.logging.folder}
    empty = [f"{name} ({path!r})" for name, path in paths.items() if _is_placeholder(path)]
    if empty:
        still = "still is a placeholder" if len(empty) == 1 else "still are placeholders"
        told = f"{' and '.join(empty)} {still}: write your own folders into the file"
        if empty[0].startswith("data."):
            told += "; pictures lie in root_path/image_folder/train/<class>/"
        raise ValueError(told)


def _expanded(path: str) -> str:
    """`~` and `$VARIABLES` replaced."""
    return os.path.expanduser(os.path.expandvars(path))


def _is_placeholder(path: str) -> bool:
    path = _expanded(path)
    return not path or "$" in path or "YOUR_" in path


def _data(data: Data) -> dict[str, Any]:
    return {
        "source": {
            "kind": "folder",
            "path": os.path.join(_expanded(data.root_path), data.image_folder),
            "split": "train",
        },
        "view": {
            "size": (data.crop_size, data.crop_size),
            "scale": data.crop_scale,
            "flip": 0.5 if data.use_horizontal_flip else 0.0,
            "jitter": data.color_jitter_strength if data.use_color_distortion else 0.0,
            "blur": 0.5 if data.use_gaussian_blur else 0.0,
        },
        "normalization": "imagenet",
        "num_workers": data.num_workers,
    }


def _data_of(config: RunConfig) -> dict[str, Any]:
    view, source, batch = config.data.view, config.data.source, config.batch
    per_device = (
        max(1, batch.size // len(config.devices)) if batch.device == "auto" else batch.device
    )
    path = PurePosixPath(source.path if source.kind == "folder" else source.kind)
    return {
        "batch_size": per_device,
        "color_jitter_strength": view.jitter,
        "crop_scale": list(view.scale),
        "crop_size": view.size[0],
        "image_folder": f"{path.name}/",
        "num_workers": config.data.num_workers if config.data.num_workers != "auto" else 10,
        "pin_mem": True,
        "root_path": str(path.parent),
        "use_color_distortion": view.jitter > 0,
        "use_gaussian_blur": view.blur > 0,
        "use_horizontal_flip": view.flip > 0,
    }


# The mask keys that `reference_multiblock` has by the same names, and `multiblock`'s for them.
_MASK_NAMES = {
    "aspect_ratio": "target_aspect",
    "enc_mask_scale": "context_scale",
    "min_keep": "min_context",
    "num_enc_masks": "num_contexts",
    "num_pred_masks": "num_targets",
    "pred_mask_scale": "target_scale",
}


def _masking(mask: Mask) -> dict[str, Any]:
    same = {name: getattr(mask, name) for name in ("allow_overlap", *_MASK_NAMES)}
    return {"kind": "reference_multiblock", **same}


def _mask_of(config: RunConfig) -> dict[str, Any]:
    plain = config.masking.model_dump(mode="json")
    if plain["kind"] == "reference_multiblock":
        same = {name: plain[name] for name in _MASK_NAMES}
    elif plain["kind"] == "multiblock":
        same = {theirs: plain[ours] for theirs, ours in _MASK_NAMES.items()}
    else:
        raise ValueError(
            f"the reference's file cannot describe masking.kind={plain['kind']}: set "
            "reference_outputs=null, or masking.kind=reference_multiblock"
        )
    overlap = plain.get("allow_overlap", False)
    return {"allow_overlap": overlap, **same, "patch_size": as_pair(config.encoder.patch)[0]}


def _checkpoint_to_read(file: ReferenceFile) -> str | None:
    if not file.meta.load_checkpoint:
        return None
    return file.meta.read_checkpoint or f"{file.logging.write_tag}-latest.pth.tar"


def _tag(config: RunConfig) -> str:
    return config.reference_outputs.tag if config.reference_outputs else "jepa"


def _meta_of(config: RunConfig) -> dict[str, Any]:
    from_file = config.reference_outputs.continue_from if config.reference_outputs else None
    is_latest = from_file == f"{_tag(config)}-latest.pth.tar"
    return {
        "copy_data": False,
        "load_checkpoint": from_file is not None,
        "model_name": config.encoder.size,
        "pred_depth": config.predictor.depth,
        "pred_emb_dim": config.predictor.width,
        "read_checkpoint": None if is_latest else from_file,
        "use_bfloat16": config.precision == "bf16",
    }


# The reference's names and ours.
_OPTIMIZATION = {
    **{n: n for n in ("epochs", "lr", "start_lr", "final_lr", "weight_decay")},
    "final_weight_decay": "final_weight_decay",
    "warmup": "warmup_epochs",
    "ipe_scale": "schedule_scale",
}


def _optimization(file: Optimization) -> dict[str, Any]:
    return {ours: getattr(file, theirs) for theirs, ours in _OPTIMIZATION.items()}


def _optimization_of(config: RunConfig) -> dict[str, Any]:
    o = config.optimization
    file = {theirs: getattr(o, ours) for theirs, ours in _OPTIMIZATION.items()}
    whole = {name: _whole(file[name]) for name in ("epochs", "warmup")}
    return {"ema": list(config.objective.ema), **file, **whole}


def _whole(number: float) -> int | float:
    """`300.0` -> `300`: the reference counts whole epochs."""
    return int(number) if float(number).is_integer() else number
