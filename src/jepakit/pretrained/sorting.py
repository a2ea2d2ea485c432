"""Which network each tensor of a file belongs to, whatever the file is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from jepakit.pretrained.other_methods import refuse_other_methods
from jepakit.pretrained.weights import CONTEXT, ENCODER, PREDICTOR, TARGET, StateDict

WRAPPED = "module."  # networks that were saved wrapped for several processes
# How names begin: the reference's networks, and ours. Inside a network the names are the same.
_BEGINNINGS = {
    "target_encoder.": TARGET,
    "context_encoder.": CONTEXT,
    "predictor.": PREDICTOR,
}
_OF_ENCODERS = ("patch_embed.proj.", "pos_embed", "blocks.", "norm.")
_OF_PREDICTORS = ("predictor_", "mask_token")
_SURE = "patch_embed.proj.weight"  # every encoder has it


@dataclass(frozen=True)
class Sorted:
    """Tensors by network, and where each came from."""

    networks: dict[str, StateDict]
    used: tuple[str, ...]
    unused: tuple[str, ...]


def flattened(content: Mapping[str, object], prefix: str = "") -> dict[str, Tensor]:
    """The tensors within nested mappings by their names joined with dots; the rest is left out."""
    found: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            found[f"{prefix}{name}"] = value
        elif isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{name}.")
    return found


def sort_tensors(tensors: Mapping[str, Tensor], where: str) -> Sorted:
    """Sort by the beginnings of names. `ValueError` if no encoder is among them.

    `encoder.` is the context encoder where a target encoder is there too (the reference's names).
    """
    has_target = any(name.startswith("target_encoder.") for name in tensors)
    beginnings = {**_BEGINNINGS, "encoder.": CONTEXT if has_target else ENCODER}
    networks: dict[str, StateDict] = {}
    used, unused = [], []
    for name, tensor in tensors.items():
        network, key = _place(name, beginnings)
        if network is None:
            unused.append(name)
        else:
            networks.setdefault(network, {})[key] = tensor
            used.append(name)
    if not any(_SURE in state for network, state in networks.items() if network != PREDICTOR):
        _explain(tensors, where)
    refuse_other_methods(tensors, where)
    return Sorted(networks, tuple(used), tuple(unused))


def _place(name: str, beginnings: Mapping[str, str]) -> tuple[str | None, str]:
    for beginning, network in beginnings.items():
        if name.startswith(beginning):
            key = name.removeprefix(beginning).removeprefix(WRAPPED)
            return (network, key) if _belongs(network, key) else (None, key)
    key = name.removeprefix(WRAPPED)
    if key.startswith(_OF_PREDICTORS):
        return PREDICTOR, key
    return (ENCODER, key) if key.startswith(_OF_ENCODERS) else (None, key)


def _belongs(network: str, key: str) -> bool:
    return key.startswith(_OF_PREDICTORS if network == PREDICTOR else _OF_ENCODERS)


def _explain(tensors: Mapping[str, Tensor], where: str) -> None:
    """Say why no encoder was found: other method, wrong prefix, or something else altogether."""
    refuse_other_methods(tensors, where)
    for name in tensors:
        if name.endswith(_SURE):
            prefix = name.removesuffix(_SURE)
            raise ValueError(
                f"the names in {where} begin with {prefix!r}, which is no beginning of I-JEPA's "
                f"(encoder., target_encoder., {WRAPPED}, or nothing): rename them without it"
            )
    shown = ", ".join(list(tensors)[:3]) or "nothing"
    raise ValueError(
        f"{where} holds no vision transformer (it has no {_SURE}, but {shown}): give a file of "
        "I-JEPA's weights"
    )
