"""Judgements on disk, so that an interrupted evaluation does not judge twice."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from jepakit.core.files import written_whole
from jepakit.evaluation.judgement import Judgement

_PARTS = ("marks", "predictions", "confidence")


def save_judgement(judgement: Judgement, path: Path) -> None:
    """Write a judgement, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    for part in _PARTS:
        named = getattr(judgement, part)
        tensors |= {f"{part}:{name}": value.contiguous() for name, value in named.items()}
    facts = {"chosen": json.dumps(judgement.chosen), "curves": json.dumps(judgement.curves)}
    with written_whole(path) as beside:
        save_file(tensors, beside, facts)


def load_judgement(path: Path) -> Judgement:
    """Read what `save_judgement` wrote."""
    with safe_open(path, "pt") as file:
        found: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part, _, name = key.partition(":")
            found[part][name] = file.get_tensor(key)
        facts = file.metadata()
    return Judgement(
        found["marks"],
        found["predictions"],
        json.loads(facts["chosen"]),
        curves=json.loads(facts["curves"]),
        confidence=found["confidence"],
    )
