"""A trained run, opened for looking: its networks, its normalisation, its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from jepakit.core.checkpoint import CheckpointFolder, restore_networks
from jepakit.data.normalization import Normalizer, Statistics
from jepakit.objectives import Objective
from jepakit.runs.config import RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.networks import Networks, build_networks
from jepakit.runs.yaml_file import check, read_yaml


@dataclass(frozen=True)
class Trained:
    """What a run's newest checkpoint holds, on a device."""

    config: RunConfig
    folder: RunFolder
    networks: Networks
    normalise: Normalizer
    step: int
    device: torch.device

    @property
    def objective(self) -> Objective:
        """The trained networks."""
        return self.networks.objective

    def untrained(self) -> Networks:
        """The same networks as they were before the first step."""
        return build_networks(self.config, self.objective.kept_encoder().num_channels, self.device)


def open_trained(path: Path, device: torch.device) -> Trained:
    """Open a run folder; `ValueError` if it holds no checkpoint."""
    folder = RunFolder(path)
    if not folder.config.exists():
        raise ValueError(
            f"{path} is no run folder (it has no config.yaml): give a folder that "
            "`jepa pretrain` wrote"
        )
    config = check(RunConfig, read_yaml(folder.config))
    state = CheckpointFolder(folder.checkpoints, config.checkpoint).load_newest()
    if state is None:
        raise ValueError(f"{path} holds no checkpoint yet: let `jepa pretrain` run longer")
    networks = build_networks(config, state.facts["num_channels"], device)
    restore_networks(state, networks.objective)
    normalise = Normalizer(Statistics.model_validate(state.facts["normalization"])).to(device)
    return Trained(config, folder, networks, normalise, state.step, device)
