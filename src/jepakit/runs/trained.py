"""A trained run, opened for looking: its networks, its normalisation, its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from jepakit.core.checkpoint import CheckpointFolder, read_state
from jepakit.core.state import State, restore_networks
from jepakit.data.normalization import IMAGENET, Normalizer, Statistics
from jepakit.objectives import Objective
from jepakit.pretrained.meta import read_checkpoint
from jepakit.runs.config import RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.networks import Networks, build_networks
from jepakit.runs.reference_yaml import from_reference, is_reference
from jepakit.runs.yaml_file import check, read_yaml

REFERENCE_PARAMS = "params-ijepa.yaml"
NOT_RECORDED = "."  # where the pictures of a released checkpoint were


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds, on a device."""

    config: RunConfig
    folder: RunFolder
    networks: Networks
    normalise: Normalizer
    step: int | None  # None = not known
    device: torch.device

    @property
    def values(self) -> tuple[float, float] | None:
        """Which stored values became black and white in the training; None for 8 bits."""
        return getattr(self.config.data.source, "values", None)

    @property
    def objective(self) -> Objective:
        """The trained networks."""
        return self.networks.objective

    def untrained(self) -> Networks:
        """The same networks as they were before the first step."""
        return build_networks(self.config, self.objective.kept_encoder().num_channels, self.device)


def open_trained(path: Path, device: torch.device) -> Trained:
    """Open a run folder (its newest checkpoint), one `step-…` folder of it, or a `.pth.tar`.

    A file of the reference is described by the `params-ijepa.yaml` beside it, or by another such
    file given as `FILE.pth.tar@CONFIG.yaml`. `ValueError` if there is nothing to open.
    """
    if ".pth" in path.name or "@" in str(path):
        return _open_reference(path, device)
    in_checkpoint = path.resolve().parent.name == "checkpoints"
    folder = RunFolder(path.resolve().parents[1] if in_checkpoint else path)
    if not folder.config.exists():
        raise ValueError(
            f"{path} is no run folder (it has no config.yaml): give a folder that "
            "`jepa pretrain` wrote"
        )
    config = check(RunConfig, read_yaml(folder.config))
    if in_checkpoint and not path.is_dir():
        steps = ", ".join(map(str, CheckpointFolder(path.parent, config.checkpoint).steps()))
        raise ValueError(f"there is no checkpoint {path}: {folder.path} holds the steps {steps}")
    if in_checkpoint:
        state: State | None = read_state(path)
    else:
        state = CheckpointFolder(folder.checkpoints, config.checkpoint).load_newest()
    if state is None:
        raise ValueError(f"{path} holds no checkpoint yet: let `jepa pretrain` run longer")
    networks = build_networks(config, state.facts["num_channels"], device)
    restore_networks(state, networks.objective)
    normalise = Normalizer(Statistics.model_validate(state.facts["normalization"])).to(device)
    return Trained(config, folder, networks, normalise, state.step, device)


def _open_reference(path: Path, device: torch.device) -> Trained:
    name, _, given = str(path).partition("@")
    file = Path(name)
    if not file.is_file():
        raise ValueError(f"there is no checkpoint {file}: give the path of a .pth.tar file")
    params = Path(given) if given else file.parent / REFERENCE_PARAMS
    if not params.is_file():
        raise ValueError(
            f"there is no {params} that describes {file}: name its config, "
            f"e.g. {file}@configs/in1k_vith14_ep300.yaml"
        )
    config = _config_of(params)
    checkpoint = read_checkpoint(file)
    networks = build_networks(config, num_channels=3, device=device)
    tensors = {f"objective/{k}": tensor for k, tensor in checkpoint.objective_state().items()}
    restore_networks(State(tensors, {"step": 0}), networks.objective)
    normalise = Normalizer(IMAGENET).to(device)
    return Trained(config, RunFolder(file.parent), networks, normalise, None, device)


def _config_of(params: Path) -> RunConfig:
    """The run that a reference file describes; where its pictures were does not matter here."""
    content = read_yaml(params)
    if not is_reference(content):
        return check(RunConfig, content)
    for section, key in (("data", "root_path"), ("data", "image_folder"), ("logging", "folder")):
        if isinstance(content.get(section), dict):
            content[section][key] = NOT_RECORDED
    return from_reference(content, num_devices=1)
