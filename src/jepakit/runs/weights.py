"""One door for weights: what a name stands for becomes networks and a report of what was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from jepakit.data.normalization import Normalizer
from jepakit.models import Encoder
from jepakit.pretrained.architecture import Known, describe
from jepakit.pretrained.hub import HUB, fetch
from jepakit.pretrained.huggingface import is_huggingface, read_huggingface
from jepakit.pretrained.meta import read_meta
from jepakit.pretrained.names import KINDS, LOCAL, TIMM, bare_path, nothing_there
from jepakit.pretrained.plain import read_plain
from jepakit.pretrained.timm import open_timm
from jepakit.pretrained.timm_folder import is_ours, is_timm, read_timm_folder
from jepakit.pretrained.weights import (
    CONTEXT,
    ENCODER,
    Branch,
    Description,
    Weights,
    build,
)
from jepakit.runs.loaded import Loaded, LoadReport
from jepakit.runs.mistakes import meant
from jepakit.runs.trained import REFERENCE_PARAMS, Trained, open_trained
from jepakit.runs.yaml_file import read_yaml

_NUM_SHOWN = 5  # names of tensors in a sentence


def load_weights(
    name: str,
    device: torch.device,
    branch: Branch = "target",
    revision: str | None = None,
    partial: bool = False,
) -> Loaded:
    """The networks that a name stands for. Raises `ValueError` with one sentence.

    A run folder or one of its checkpoint folders; a `.pth.tar` of the reference (also `meta:PATH`;
    its architecture is inferred, or described by `PATH@CONFIG.yaml`); a folder of Hugging Face's
    `IJepaModel` or of timm, or `hf:ORG/NAME[@REVISION]`; `timm:MODEL` or `timm:MODEL@FILE`; a
    safetensors file. Where only the context encoder is there, it is given, and the report says so.
    With `partial`, tensors may be missing (they are then random) or left over.
    """
    if not name:
        raise ValueError(f"the name of a model is empty: give {KINDS}")
    if branch not in get_args(Branch):
        raise ValueError(f"branch={branch!r} is unknown: {meant(branch, get_args(Branch))}")
    loaded = _opened(name, device, branch, revision, partial)
    _check_finite(loaded)
    return loaded


def _opened(
    name: str, device: torch.device, branch: Branch, revision: str | None, partial: bool
) -> Loaded:
    path = bare_path(name)
    if name.startswith(TIMM) and not path.is_dir():
        return _from_timm(name, device)
    in_checkpoint = path.parent.parent.name == "checkpoints"
    if path.suffix == ".safetensors" and in_checkpoint:  # one file of a checkpoint of ours
        path = path.parent
    if not name.startswith(HUB) and _is_run(path):
        return _from_trained(name, open_trained(path, device), branch)
    weights, source = _read(name, path, revision)
    if weights is None:  # a network of timm that is not built like ours
        return _from_timm(f"{TIMM}{LOCAL}{source}", device)
    return _chosen(name, weights, device, branch, partial)


def _check_finite(loaded: Loaded) -> None:
    for parameter, tensor in loaded.encoder.named_parameters():
        if not tensor.isfinite().all():
            raise ValueError(
                f"{loaded.name} holds weights that are not finite ({parameter}): its training has "
                "diverged; give an earlier checkpoint"
            )


def _is_run(path: Path) -> bool:
    """A folder of ours, or a file of the reference with a description."""
    if path.is_dir():
        return not (is_huggingface(path) or is_timm(path))
    if path.parent.name == "checkpoints" and path.name.startswith("step-"):
        return True
    described = "@" in str(path) and not path.exists()
    return described or (path.is_file() and _is_pickled(path) and _described(path))


def _is_pickled(path: Path) -> bool:
    return path.suffix != ".safetensors"


def _described(path: Path) -> bool:
    """Whether the reference's settings lie beside a file, and name the encoder's size."""
    params = path.parent / REFERENCE_PARAMS
    if not params.is_file():
        return False
    meta = read_yaml(params).get("meta")
    return isinstance(meta, dict) and meta.get("model_name") is not None


def _read(name: str, path: Path, revision: str | None) -> tuple[Weights | None, Path]:
    if name.startswith(HUB):
        path = fetch(name.removeprefix(HUB), revision)
    elif not path.exists():
        raise ValueError(nothing_there(name))
    elif path.name == "model.safetensors" and (path.parent / "config.json").is_file():
        path = path.parent
    if path.is_file():
        return (read_meta if _is_pickled(path) else read_plain)(path), path
    if is_timm(path):
        return read_timm_folder(path), path
    if not is_huggingface(path):
        raise ValueError(f"{name} has no config.json of an IJepaModel: it is no model of I-JEPA")
    return read_huggingface(path, name.removeprefix(HUB)), path


def _chosen(
    name: str, weights: Weights, device: torch.device, branch: Branch, partial: bool
) -> Loaded:
    lacking = [n.replace("_", " ") for n in weights.missing]
    if lacking and not partial:
        raise ValueError(
            f"{name} lacks the {' and the '.join(lacking)}: to load what there is, ask for a "
            "partial load (--partial, partial=True)"
        )
    if weights.unused and not partial:
        raise ValueError(
            f"{name} holds tensors that belong to no I-JEPA ({_some(weights.unused)}): to leave "
            "them out, ask for a partial load (--partial, partial=True)"
        )
    networks = build(weights, name, partial)
    encoder, found, remark = _branch_of(networks.named(), branch, name)
    remarks = (remark, weights.remark)
    normalise = Normalizer(weights.description.normalization).to(device)
    for network in networks.named().values():
        network.to(device)
    sentence = _sentence(name, found, remarks, weights, networks.missing)
    unused = (*weights.unused, *networks.unknown, *weights.beside)
    used = tuple(tensor for tensor in weights.used if tensor not in networks.unknown)
    return Loaded(
        name=name,
        encoder=encoder,
        context_encoder=networks.context_encoder,
        target_encoder=networks.target_encoder,
        predictor=networks.predictor,
        branch=found,
        normalise=normalise,
        size=weights.description.size,
        report=LoadReport(used, unused, networks.missing, sentence),
        description=weights.description,
    )


def _branch_of(
    networks: Mapping[str, nn.Module], asked: Branch, name: str
) -> tuple[Encoder, Branch | None, str]:
    """(the encoder, which branch it is, a remark if it is not the one that was asked for)."""
    remark = ""
    found: Branch | None = asked
    key = f"{asked}_encoder"
    if key not in networks and ENCODER in networks:
        key, found = ENCODER, None
    elif key not in networks and asked == "target" and CONTEXT in networks:
        key, found = CONTEXT, "context"
        remark = "it holds no target encoder, which the paper evaluates"
    if key not in networks:
        raise ValueError(f"{name} holds no {asked} encoder: ask for another branch")
    encoder = networks[key]
    assert isinstance(encoder, Encoder)
    return encoder, found, remark


def _sentence(
    name: str,
    branch: Branch | None,
    remarks: Sequence[str],
    weights: Weights,
    missing: Sequence[str],
) -> str:
    which = f"the {branch} encoder" if branch else "its one encoder"
    parts = [f"{name}: {which}", *(remark for remark in remarks if remark)]
    parts.append(f"{len(weights.used)} tensors used")
    unused = (*weights.unused, *weights.beside)
    parts += [f"unused: {_some(unused)}"] if unused else []
    parts += [f"missing, so random: {_some(missing)}"] if missing else []
    return "; ".join(parts)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NUM_SHOWN
    return ", ".join(names[:_NUM_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _from_timm(name: str, device: torch.device) -> Loaded:
    backbone, statistics, size = open_timm(name.removeprefix(TIMM))
    state = backbone.model.state_dict()
    if is_ours(state):
        known = Known(backbone.num_heads, size, statistics)
        main = CONTEXT if "ijepa" in name else ENCODER
        weights = Weights({main: state}, describe({main: state}, name, known), tuple(state))
        return _chosen(name, weights, device, "target", partial=False)
    sentence = f"{name}: one encoder of timm; {len(state)} tensors used"
    report = LoadReport(tuple(state), (), (), sentence)
    normalise = Normalizer(statistics).to(device)
    return Loaded(name, backbone.to(device), None, None, None, None, normalise, size, report)


def _from_trained(name: str, trained: Trained, branch: Branch) -> Loaded:
    objective: nn.Module = trained.objective
    target = trained.objective.kept_encoder()
    context = getattr(objective, "context_encoder", None)
    encoder = target if branch == "target" else context
    if encoder is None:
        raise ValueError(f"{name} has no context encoder: ask for branch='target'")
    config, used = trained.config, tuple(objective.state_dict())
    description = Description(
        encoder=config.encoder,
        predictor=config.predictor,
        num_channels=target.num_channels,
        size=config.data.view.size,
        normalization=trained.normalise.statistics,
        values=trained.values,
    )
    sentence = f"{name}: the {branch} encoder; {len(used)} tensors used"
    return Loaded(
        name=name,
        encoder=encoder,
        context_encoder=context,
        target_encoder=target,
        predictor=getattr(objective, "predictor", None),
        branch=branch,
        normalise=trained.normalise,
        size=config.test_size,
        report=LoadReport(used, (), (), sentence),
        trained=trained,
        description=description,
    )
