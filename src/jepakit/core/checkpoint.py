"""Checkpoints: whole or absent, checked when read, and free of pickled code."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from jepakit.core import settings as core
from jepakit.core.files import flush_to_disk, sha256

log = logging.getLogger(__name__)

TENSORS, FACTS = "state.safetensors", "facts.json"


class CheckpointSettings(core.Settings):
    """When to save and what to keep. A checkpoint is also written at the end and on signals."""

    every_minutes: float | None = Field(15, gt=0, description="null = not by time")
    every_steps: int | None = Field(None, ge=1, description="null = not by steps")
    keep_last: int = Field(2, ge=1, description="the newest ones that stay")
    keep_every_epochs: int | None = Field(None, ge=1, description="stay for good")


class DamagedCheckpoint(ValueError):
    """The files of a checkpoint are not what was written."""


@dataclass(frozen=True)
class State:
    """All that a run needs to go on: tensors by name, and plain facts."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self.facts["step"])


def capture(objective: nn.Module, optimizer: torch.optim.Optimizer, **facts: Any) -> State:
    """The state of networks, optimizer and random numbers, with further facts (JSON values)."""
    tensors = {f"objective/{name}": value for name, value in objective.state_dict().items()}
    state = optimizer.state_dict()
    for place, moments in state["state"].items():
        tensors |= {f"optimizer/{place}/{name}": value for name, value in moments.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    return State(tensors, {**facts, "optimizer_groups": state["param_groups"]})


def restore(state: State, objective: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a captured state back; raises `ValueError` listing every difference in architecture."""
    restore_networks(state, objective)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(state.tensors, "optimizer/").items():
        place, key = name.split("/")
        moments.setdefault(int(place), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": state.facts["optimizer_groups"]})
    torch.set_rng_state(state.tensors["random/cpu"].cpu())
    if torch.cuda.is_available() and "random/cuda" in state.tensors:
        torch.cuda.set_rng_state(state.tensors["random/cuda"].cpu())


def restore_networks(state: State, objective: nn.Module) -> None:
    """Put the networks alone back; raises `ValueError` listing every difference in architecture."""
    networks = _below(state.tensors, "objective/")
    expected, found = (_first_names(given) for given in (objective.state_dict(), networks))
    if expected - found:
        raise ValueError(
            f"the checkpoint has no {' and no '.join(sorted(expected - found))}, only "
            f"{', '.join(sorted(found)) or 'other things'}: give one that `jepa pretrain` wrote"
        )
    differences = compare_shapes(objective.state_dict(), networks)
    if differences:
        raise ValueError(
            "the checkpoint is of another architecture; start in another folder "
            "(folder=NEW) or restore the settings. Differences:\n  " + "\n  ".join(differences)
        )
    objective.load_state_dict(networks)


def _first_names(state: Mapping[str, Tensor]) -> set[str]:
    """The networks that a state is made of: `predictor` of `predictor.blocks.0.attn`."""
    return {name.partition(".")[0] for name in state}


def compare_shapes(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """One line per tensor that is missing, unknown, or of another shape."""
    lines = []
    for name in sorted(expected.keys() | found.keys()):
        here = tuple(expected[name].shape) if name in expected else "absent"
        there = tuple(found[name].shape) if name in found else "absent"
        if here != there:
            lines.append(f"{name}: this run {here}, checkpoint {there}")
    shown = 12
    return [*lines[:shown], f"… and {len(lines) - shown} more"] if len(lines) > shown else lines


class CheckpointFolder:
    """The checkpoints of one run: `step-00001200/` holds tensors, facts and their checksum.

    One object loads and saves for one process: what is newer than it loaded is damaged.
    """

    def __init__(self, path: Path, settings: CheckpointSettings) -> None:
        self.path = path
        self.settings = settings
        self.newest: int | None = None  # the step of the last checkpoint loaded or saved

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        found = (re.fullmatch(r"step-(\d+)", path.name) for path in self.path.glob("step-*"))
        return sorted(int(name[1]) for name in found if name)

    def at(self, step: int) -> Path:
        """The folder of one step's checkpoint."""
        return self.path / f"step-{step:08d}"

    def save(self, state: State, for_good: bool = False) -> Path:
        """Write beside, flush, rename; then remove what is not to be kept.

        A step that is saved already is not written again. `OSError` if it cannot be written, and
        then all is as it was before.
        """
        final = self.at(state.step)
        if state.step == self.newest:
            return final
        self._sweep()
        beside = self.path / f".{final.name}.{os.getpid()}.part"
        beside.mkdir(parents=True)
        try:
            write_state(beside, State(state.tensors, {**state.facts, "for_good": for_good}))
            self._put_damaged_aside(state.step)
            os.replace(beside, final)
            flush_to_disk(self.path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self.newest = state.step
        self._remove_old()
        return final

    def load_newest(self) -> State | None:
        """The newest whole checkpoint, on the CPU; None if there is none at all.

        A damaged one is named in the log and the one before is taken; if all are damaged,
        `DamagedCheckpoint`.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                state = read_state(self.at(step))
                self.newest = step
                return state
            except DamagedCheckpoint as error:
                log.warning("%s; taking the one before", error)
                damaged.append(str(error))
        if damaged:
            raise DamagedCheckpoint(
                f"no checkpoint in {self.path} can be read: {'; '.join(damaged)}. "
                "Start again in another folder: folder=NEW"
            )
        return None

    def _put_damaged_aside(self, saving: int) -> None:
        """Rename what could not be read: it shall neither count as kept nor be in the way."""
        newest = saving - 1 if self.newest is None else self.newest
        for step in self.steps():
            if step > newest:
                aside = self.path / f"damaged-{self.at(step).name}"
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(self.at(step), aside)
                log.warning("the damaged %s is now called %s", self.at(step), aside.name)

    def _sweep(self) -> None:
        """Remove what a killed process left half written or half removed."""
        for leftover in self.path.glob(".step-*.part"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _remove_old(self) -> None:
        old = self.steps()[: -self.settings.keep_last]
        for step in [step for step in old if not self._stays(step)]:
            going = self.path / f".{self.at(step).name}.old.part"
            os.replace(self.at(step), going)  # first, so that no half of one is ever seen
            shutil.rmtree(going, ignore_errors=True)

    def _stays(self, step: int) -> bool:
        try:
            facts = json.loads((self.at(step) / FACTS).read_text(encoding="utf-8"))
            return bool(facts["facts"]["for_good"])
        except (OSError, ValueError, KeyError, TypeError):
            return False  # damaged since it was written; it goes when its turn comes


def write_state(folder: Path, state: State) -> None:
    """Write a state's two files into an existing folder and flush them; `OSError` if it fails."""
    tensors = {name: value.detach().contiguous() for name, value in state.tensors.items()}
    try:
        save_file(tensors, folder / TENSORS)
    except SafetensorError as error:  # how it tells that the disk is full
        raise OSError(f"{folder / TENSORS} cannot be written: {error}") from error
    flush_to_disk(folder / TENSORS)
    checksums = {"sha256": sha256(folder / TENSORS), "facts_sha256": _digest(state.facts)}
    written = json.dumps({**checksums, "facts": state.facts}, indent=1)
    (folder / FACTS).write_text(written, encoding="utf-8")
    flush_to_disk(folder / FACTS)
    flush_to_disk(folder)


def read_state(folder: Path) -> State:
    """Read and check a checkpoint; raises `DamagedCheckpoint` naming what is wrong."""
    try:
        written = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        expected = (written["sha256"], written["facts_sha256"])
        if expected == (sha256(folder / TENSORS), _digest(written["facts"])):
            return State(load_file(folder / TENSORS), written["facts"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"checkpoint {folder} is damaged: {error}") from error
    raise DamagedCheckpoint(f"checkpoint {folder} is damaged: its checksum does not match")


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
