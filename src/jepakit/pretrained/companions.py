"""What a foreign folder has no place for, beside it: the other encoder, the predictor, facts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from safetensors.torch import save_file

from jepakit.core import settings as core
from jepakit.pretrained.tensor_files import read_safetensors
from jepakit.pretrained.weights import (
    CONTEXT,
    PREDICTOR,
    TARGET,
    Description,
    StateDict,
    Weights,
)

FACTS = "jepakit.json"


class Facts(core.Settings):
    """The content of `jepakit.json`."""

    main: Literal["target_encoder", "context_encoder", "encoder"]
    description: Description


def main_network(weights: Weights) -> str:
    """The network that becomes the folder's model: the first encoder."""
    return next(name for name in weights.networks if name != PREDICTOR)


def write_companions(weights: Weights, folder: Path) -> None:
    """Write what is not the folder's model: one safetensors file per network, and the facts."""
    main = main_network(weights)
    for name, state in weights.networks.items():
        if name != main:
            save_file({k: t.contiguous() for k, t in state.items()}, folder / f"{name}.safetensors")
    facts = Facts(main=main, description=weights.description)  # type: ignore[arg-type]
    (folder / FACTS).write_text(facts.model_dump_json(indent=1), encoding="utf-8")


def read_companions(folder: Path) -> tuple[Facts | None, dict[str, StateDict]]:
    """What an export of ours left beside the model; nothing, for folders of others."""
    if not (folder / FACTS).is_file():
        return None, {}
    try:
        facts = Facts.model_validate_json((folder / FACTS).read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / FACTS} is not valid: {error}") from None
    files = {name: folder / f"{name}.safetensors" for name in (TARGET, CONTEXT, PREDICTOR)}
    return facts, {n: read_safetensors(f)[0] for n, f in files.items() if f.is_file()}
