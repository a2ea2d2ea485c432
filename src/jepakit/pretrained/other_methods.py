"""Recognises checkpoints of other methods by the names of their tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The first that matches names the method; each is what only that method's own files have.
_SIGNS: tuple[tuple[str, str], ...] = (
    ("V-JEPA (video)", r"(^|\.)(target_)?encoder\..*backbone\."),
    ("MAE", r"(^|\.)decoder_(blocks|embed|pos_embed|pred)\b"),
    ("SimMIM or BEiT", r"relative_position_bias_table|rel_pos_bias\."),
    ("DINOv2", r"(^|\.)(register_tokens|ls1\.gamma|dino_head\.|blocks\.\d+\.\d+\.norm1\.)"),
    ("DINO or iBOT", r"(^|\.)(teacher|student|head\.last_layer|head\.mlp\.\d|dino_loss)"),
    ("MoCo", r"(^|\.)(base_encoder|momentum_encoder|encoder_[qk])\."),
    ("CLIP", r"(^|\.)(visual\.|logit_scale|text_model|vision_model)"),
    ("a convolutional network", r"(^|\.)(layer1\.0\.conv1|stages\.\d+\.)"),
)
_CLASS_TOKEN = re.compile(r"(^|\.)cls_token$")
_TIMM = {"MAE": "timm:vit_base_patch16_224.mae", "DINO or iBOT": "timm:vit_small_patch16_224.dino"}


def method_of(names: Iterable[str]) -> tuple[str, str] | None:
    """The method and the name that betrays it; None if nothing speaks for another method."""
    names = list(names)
    for method, sign in _SIGNS:
        for name in names:
            if re.search(sign, name):
                return method, name
    for name in names:
        if _CLASS_TOKEN.search(name):
            return "a vision transformer with a class token (supervised, MAE, DINO, …)", name
    return None


def refuse_other_methods(names: Iterable[str], where: str) -> None:
    """`ValueError` that names the method, if it is another than I-JEPA."""
    found = method_of(names)
    if found is not None:
        method, name = found
        example = _TIMM.get(method, "timm:MODEL")
        raise ValueError(
            f"{where} is a checkpoint of {method}, not of I-JEPA (it holds {name}): to evaluate it "
            f"give its architecture in timm, e.g. {example}@{where}"
        )
