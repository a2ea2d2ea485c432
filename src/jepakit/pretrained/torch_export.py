"""Graphs of `torch.export` (.pt2): written, and opened again without this package's classes."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from jepakit.models import Encoder
from jepakit.pretrained.exportable import exported_program
from jepakit.pretrained.weights import Description

DESCRIPTION = "jepakit.json"


def write_torch_export(encoder: Encoder, description: Description, path: Path) -> None:
    """Write the encoder's graph; our description travels in the file."""
    extra = {DESCRIPTION: description.model_dump_json()}
    torch.export.save(exported_program(encoder), path, extra_files=extra)


class TorchExported:
    """A `.pt2` file, ready to compute on the CPU."""

    def __init__(self, path: Path) -> None:
        self.graph = torch.export.load(path).module()

    def __call__(self, pixels: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """Tokens B N D and pooled features B D of normalised pictures."""
        with torch.no_grad():
            tokens, pooled = self.graph(pixels)
        return tokens, pooled
