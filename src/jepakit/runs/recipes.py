"""Networks, masks and schedule for so many pictures of a size, on a device, with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from math import lcm
from typing import Any

import numpy as np
import torch

from jepakit.masking.random_patches import RandomPatches
from jepakit.runs.choices import Choices, section

SIDE_FOR_64, SIDE_FOR_224 = 48, 128  # pixels: from this shorter side on, views of that size
FEW, MANY = 100_000, 500_000  # pictures: below FEW the data is small, above MANY it is large


def choose_networks(
    chosen: Choices, shorter: int, count: int, device: torch.device, said: Mapping[str, Any]
) -> None:
    """Views, networks and masks for `count` pictures of that shorter side (in pixels)."""
    if device.type == "cuda" and shorter >= SIDE_FOR_224:
        _choose_vit(chosen, shorter, count, said)
    else:
        _choose_small_vit(chosen, shorter, count, device, said)


def _choose_vit(chosen: Choices, shorter: int, count: int, said: Mapping[str, Any]) -> None:
    name = "vit_base" if count >= MANY else "vit_small"
    told = f"{count} pictures, shorter side {shorter} px, on cuda"
    chosen.take("data.view.size", _divided(224, 16, said), f"the usual size; {told}")
    chosen.take("encoder.size", name, "as large as that many pictures feed")
    chosen.take("encoder.patch", 16, "a grid of 14 x 14")
    if count >= FEW:
        chosen.take("predictor.depth", 6, "the paper's for ViT-B")
        return
    why = "half the cost of the paper's 384 x 6; measured: results/imagenette-gpu"
    chosen.take("predictor.width", 192, why)
    chosen.take("predictor.depth", 4, "as the width: measured there")
    chosen.take("predictor.num_heads", 3, "64 numbers per head")


def _choose_small_vit(
    chosen: Choices, shorter: int, count: int, device: torch.device, said: Mapping[str, Any]
) -> None:
    told = f"{count} pictures, shorter side {shorter} px, on {device.type}"
    size = 64 if shorter >= SIDE_FOR_64 else max(24, shorter // 8 * 8)
    patch = 8 if size >= SIDE_FOR_64 else 4
    width = 384 if device.type == "cuda" else 192
    in_minutes = device.type != "cuda" and size == 64
    size, smaller = _divided(size, patch, said), _divided(48, patch, said)
    view_is_said = "size" in section(said, "data", "view")
    if in_minutes and smaller < size and not view_is_said:
        cost = f"{smaller**2 / size**2:.0%} of the cost of {size} px"
        chosen.take("data.view.size", smaller, f"{cost}; {told}")
        why = f"for scores: things are as large as in crops of {smaller} px"
        chosen.take("data.test_size", size, why)
        size = smaller
    else:
        chosen.take("data.view.size", size, f"trains in reasonable time; {told}")
    grid = "" if view_is_said else f": {size // patch} x {size // patch}"
    chosen.take("encoder.patch", patch, f"a coarse grid{grid}")
    chosen.take("encoder.width", width, "a small ViT learns well from small pictures")
    chosen.take("encoder.depth", 6, "half of ViT-S: so small a grid needs no more")
    chosen.take("encoder.num_heads", width // 64, "64 numbers per head")
    chosen.content["encoder"]["size"] = None
    if in_minutes:
        _choose_masks(chosen, section(said, "masking"))
        chosen.take("predictor.width", width, "the encoder's; measured: results/imagenette-cpu")
        chosen.take("predictor.depth", 1, "measured there: a deeper one learns in its place")
    else:
        chosen.take("predictor.width", width // 2, "half of the encoder's width")
        chosen.take("predictor.depth", 3, "a deep predictor on little data learns in its place")
    chosen.content["predictor"]["num_heads"] = width // 64


def _choose_masks(chosen: Choices, said: Mapping[str, Any]) -> None:
    """Random masks, unless what was said of masks is said of others."""
    foreign = [name for name in said if name not in RandomPatches.Settings.model_fields]
    if foreign:
        why = f"has masking.{foreign[0]}, which random masks lack; those learn sooner"
        chosen.take("masking.kind", "multiblock", why)
    else:
        why = "in minutes of training better than blocks; measured: results/imagenette-cpu"
        chosen.take("masking.kind", "random", why)


def _divided(size: int, usual: int, said: Mapping[str, Any]) -> int:
    """The size next to this one that divides into the user's patches, or into the usual ones."""
    said_patch = section(said, "encoder").get("patch", usual)
    sides = said_patch if isinstance(said_patch, list) else [said_patch]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        return size  # told when the settings are checked
    side = lcm(*sides)
    return max(3, round(size / side)) * side  # a grid of 3 x 3 is the smallest that masks fit


def choose_schedule(
    chosen: Choices, count: int, device: torch.device, said: Mapping[str, Any]
) -> None:
    """Batch, length, learning rate and what goes with them, for `count` pictures."""
    on_gpu = device.type == "cuda"
    wanted = (2048 if count >= MANY else 512 if count >= FEW else 256) if on_gpu else 32
    batch = wanted if count >= 8 * wanted else max(2, 2 ** int(np.log2(max(count / 8, 2))))
    views = 30_000_000 if on_gpu else 300_000
    why = "the same pictures in small batches make more steps" if batch < 2048 else "the paper's"
    chosen.take("batch.size", batch, why)
    epochs = _epochs(said)
    if epochs is None:
        epochs = int(np.clip(round(views / count), 10 if on_gpu else 1, 600 if on_gpu else 200))
    chosen.take("optimization.epochs", epochs, f"{epochs * count:,.0f} views in all")
    chosen.take("optimization.warmup_epochs", epochs / 10, "a tenth of the run")
    chosen.take("optimization.lr", 1e-3, "the paper's")
    if count < FEW:
        why = "without it features collapse on small data (docs/guides/small-data.md)"
        chosen.take("objective.regulariser.kind", "vicreg", why)
        chosen.take("objective.regulariser.weight", 0.05, "best of .01 and .05 in trials")
        last = 0.9999 if on_gpu else 0.999
        chosen.take("objective.ema", [0.99, last], "few steps: targets must follow, to the end")
    why = "the paper's at ViT-B, and strong enough for narrower networks"
    chosen.take("encoder.initialisation", "fan_in", why)
    chosen.take("predictor.initialisation", "fan_in", why)
    chosen.take("data.normalization", "data", "measured on the pictures")
    why = "pixels stay decoded, on disk or on a GPU, if a quarter of the memory has room for them"
    chosen.take("data.keep_decoded", "auto", why)


def _epochs(said: Mapping[str, Any]) -> float | None:
    epochs = section(said, "optimization").get("epochs")
    return float(epochs) if isinstance(epochs, (int, float)) and epochs > 0 else None
