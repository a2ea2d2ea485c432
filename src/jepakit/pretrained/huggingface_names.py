"""Names of an encoder's parameters in files of Hugging Face's `IJepaModel`, both ways."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from jepakit.pretrained.weights import StateDict

# Ours -> theirs, in files. (In memory, since version 5, some layers are called otherwise.)
_OUTSIDE = {
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_INSIDE = {
    "norm1": "layernorm_before",
    "attn.proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_QKV = ("query", "key", "value")
_OF_LETTER = {"q": "query", "k": "key", "v": "value"}
_NEWER = (  # the same names as version 5 has them in memory
    (r"^layers\.", "encoder.layer."),
    (r"attention\.([qkv])_proj", lambda m: f"attention.attention.{_OF_LETTER[m[1]]}"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)


def to_theirs(state: StateDict) -> StateDict:
    """An encoder's parameters by their names; q, k and v are three layers there."""
    theirs: StateDict = {}
    for name, tensor in state.items():
        if ".attn.qkv." in name:
            _, place, *_, kind = name.split(".")
            for part, piece in zip(_QKV, tensor.chunk(3), strict=True):
                theirs[f"encoder.layer.{place}.attention.attention.{part}.{kind}"] = piece
        else:
            theirs[_renamed(name)] = tensor
    return theirs


def _renamed(name: str) -> str:
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    stem, _, kind = name.rpartition(".")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.{kind}"
    _, place, inside = stem.split(".", 2)
    return f"encoder.layer.{place}.{_INSIDE[inside]}.{kind}"


def from_theirs(tensors: StateDict) -> tuple[StateDict, list[str], list[str]]:
    """(an encoder's parameters by our names, the names used, the names that are no part of it)."""
    by_name = {_older(name): (name, tensor) for name, tensor in tensors.items()}
    depth = 1 + max((int(m[1]) for n in by_name if (m := _LAYER.match(n))), default=-1)
    ours: StateDict = {}
    used = []
    for name in _our_names(depth):
        wanted = _theirs_of(name)
        if all(key in by_name for key in wanted):
            pieces: list[Tensor] = [by_name[key][1] for key in wanted]
            ours[name] = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
            used += [by_name[key][0] for key in wanted]
    taken = set(used)
    return ours, used, [name for name in tensors if name not in taken]


_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")


def _older(name: str) -> str:
    name = name.removeprefix("ijepa.")  # within a classifier
    for pattern, replacement in _NEWER:
        name = re.sub(pattern, replacement, name)  # type: ignore[arg-type]
    return name


def _our_names(depth: int) -> list[str]:
    names = ["pos_embed"]
    layers = ["patch_embed.proj", "norm"]
    for place in range(depth):
        layers += [f"blocks.{place}.{inside}" for inside in (*_INSIDE, "attn.qkv")]
    return names + [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def _theirs_of(name: str) -> list[str]:
    if ".attn.qkv." not in name:
        return [_renamed(name)]
    _, place, *_, kind = name.split(".")
    return [f"encoder.layer.{place}.attention.attention.{part}.{kind}" for part in _QKV]
