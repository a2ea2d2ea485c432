"""Plain safetensors files: all networks in one, and what shapes do not tell in the header."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError
from safetensors.torch import save_file

from jepakit.core.files import written_whole
from jepakit.pretrained.architecture import describe
from jepakit.pretrained.sorting import sort_tensors
from jepakit.pretrained.tensor_files import read_safetensors
from jepakit.pretrained.weights import Description, Weights

DESCRIPTION = "jepakit"  # the header's entry


def read_plain(path: Path) -> Weights:
    """The networks of a file: ours, or anybody's with an encoder of these names in it."""
    tensors, header = read_safetensors(path)
    sorted_ = sort_tensors(tensors, str(path))
    try:
        description = (
            Description.model_validate(json.loads(header[DESCRIPTION]))
            if DESCRIPTION in header
            else describe(sorted_.networks, str(path))
        )
    except ValidationError as error:
        raise ValueError(f"the description in {path} is not valid: {error}") from None
    return Weights(sorted_.networks, description, sorted_.used, sorted_.unused)


def write_plain(weights: Weights, path: Path) -> None:
    """`target_encoder.…`, `context_encoder.…` and `predictor.…` in one file."""
    tensors = {
        f"{network}.{name}": tensor.contiguous()
        for network, state in weights.networks.items()
        for name, tensor in state.items()
    }
    with written_whole(path) as beside:
        save_file(tensors, beside, {DESCRIPTION: weights.description.model_dump_json()})
