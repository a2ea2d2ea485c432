"""The keys of the reference implementation's YAML files, and what they may hold."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field

from jepakit.core.settings import Settings
from jepakit.runs.yaml_file import check

Range = tuple[float, float]


class Data(Settings):
    """The pictures, in `root_path/image_folder/train/<class>/`, and how they are looked at."""

    batch_size: int = Field(ge=1, description="per device")
    color_jitter_strength: float = Field(ge=0)
    crop_scale: Range
    crop_size: int = Field(ge=8)
    image_folder: str
    num_workers: int = Field(ge=0)
    pin_mem: bool
    root_path: str
    use_color_distortion: bool
    use_gaussian_blur: bool
    use_horizontal_flip: bool


class Logging(Settings):
    """Where the outputs go, and how their names begin."""

    folder: str
    write_tag: str = Field(min_length=1)


class Mask(Settings):
    """The sampler of masks."""

    allow_overlap: bool
    aspect_ratio: Range
    enc_mask_scale: Range
    min_keep: int = Field(ge=0)
    num_enc_masks: int = Field(ge=1)
    num_pred_masks: int = Field(ge=1)
    patch_size: int = Field(ge=1)
    pred_mask_scale: Range


class Meta(Settings):
    """The networks, the precision, and where to continue."""

    copy_data: bool
    load_checkpoint: bool
    model_name: Literal["vit_tiny", "vit_small", "vit_base", "vit_large", "vit_huge", "vit_giant"]
    pred_depth: int = Field(ge=1)
    pred_emb_dim: int = Field(ge=4)
    read_checkpoint: str | None
    use_bfloat16: bool


class Optimization(Settings):
    """How long, and how fast."""

    ema: Range
    epochs: int = Field(ge=1)
    final_lr: float
    final_weight_decay: float
    ipe_scale: float
    lr: float
    start_lr: float
    warmup: float
    weight_decay: float


class ReferenceFile(Settings):
    """All 37 keys. Every one of them must be there, as in the reference."""

    data: Data
    logging: Logging
    mask: Mask
    meta: Meta
    optimization: Optimization


def check_file(content: dict[str, Any]) -> ReferenceFile:
    """The file's values; `ValueError` naming the keys that are unknown, missing or out of range."""
    if mistakes := list(_mistakes(ReferenceFile, content)):
        raise ValueError("; ".join(mistakes))
    return check(ReferenceFile, content)


def _mistakes(model: type[BaseModel], content: Any, name: str = "") -> Iterator[str]:
    """Keys that the model does not know or that are missing; `name` is the section with its dot."""
    if not isinstance(content, dict):
        yield f"{name.rstrip('.')} must hold `key: value` lines, not {content!r}"
        return
    for key in content:
        if key not in model.model_fields:
            yield f"unknown key {name}{key} in the reference's file: {_advice(key)}"
    for key, field in model.model_fields.items():
        if key not in content:
            yield (
                f"the reference's file lacks {name}{key}: add it, as in "
                "configs/in1k_vith14_ep300.yaml"
            )
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _mistakes(field.annotation, content[key], f"{key}.")


def _advice(key: str) -> str:
    sections = {s: f.annotation.model_fields for s, f in ReferenceFile.model_fields.items()}  # type: ignore[union-attr]
    known = {k: f"{section}.{k}" for section, keys in sections.items() for k in keys}
    known |= {section: section for section in sections}
    close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    return f"did you mean {known[close[0]]}?" if close else f"known are {', '.join(known.values())}"
