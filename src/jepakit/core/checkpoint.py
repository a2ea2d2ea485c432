"""Checkpoints on disk: whole or absent, checked when read, and free of pickled code."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from jepakit.core import settings as core
from jepakit.core.distributed import from_first, gather_objects, rank, who, world_size
from jepakit.core.files import flush_to_disk, sha256
from jepakit.core.sharded_checkpoint import ShardedTensors
from jepakit.core.state import State

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


class CheckpointFolder:
    """The checkpoints of one run: `step-00001200/` holds tensors, facts and their checksum.

    One object loads and saves for one run: what is newer than it loaded is damaged. A checkpoint of
    networks that were spread over processes has several `shard-….safetensors` in place of one file.
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
        if state.step == self.newest:
            return self.at(state.step)
        with self.beside(state.step) as beside:
            write_state(beside, State(state.tensors, {**state.facts, "for_good": for_good}))
            return self.put_in_place(beside, state.step)

    @contextmanager
    def beside(self, step: int) -> Iterator[Path]:
        """An empty folder to write a step's checkpoint into; it is gone afterwards."""
        beside = self.make_beside(step)
        try:
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def make_beside(self, step: int) -> Path:
        """An empty folder for a step's checkpoint; what a killed process left is swept away."""
        self._sweep()
        beside = self.path / f".{self.at(step).name}.{os.getpid()}.part"
        beside.mkdir(parents=True)
        return beside

    def put_in_place(self, beside: Path, step: int) -> Path:
        """Give what was written beside its name; then remove what is not to be kept."""
        self._put_damaged_aside(step)
        os.replace(beside, self.at(step))
        flush_to_disk(self.path)
        self.newest = step
        self._remove_old()
        return self.at(step)

    def load_newest(self) -> State | None:
        """The newest whole checkpoint, on the CPU; None if there is none at all.

        A damaged one is named in the log and the one before is taken; if all are damaged,
        `DamagedCheckpoint`. The processes of a run look together and find the same.
        """
        damaged = []
        for step in reversed(from_first(self.steps())):
            try:
                state = read_state(self.at(step), together=True)
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
    seal(folder, {TENSORS: sha256(folder / TENSORS)}, state.facts)


def seal(folder: Path, checksums: dict[str, str], facts: dict[str, Any]) -> None:
    """Write the facts beside the tensors' files, with the checksums of all."""
    content = {"files": checksums, "facts_sha256": _digest(facts), "facts": facts}
    (folder / FACTS).write_text(json.dumps(content, indent=1), encoding="utf-8")
    flush_to_disk(folder / FACTS)
    flush_to_disk(folder)


def read_facts(folder: Path) -> dict[str, Any]:
    """What a checkpoint tells beside its tensors, which are not looked at; `DamagedCheckpoint`."""
    try:
        written = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return dict(written["facts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"checkpoint {folder} is damaged: {error}") from error


def read_state(folder: Path, together: bool = False) -> State:
    """Read and check a checkpoint; raises `DamagedCheckpoint` naming what is wrong.

    `together`: all processes of a run call it, share the work of checking, and find the same.
    """
    share = (rank(), world_size()) if together else (0, 1)
    state, wrong = _open(folder, *share)
    if together and world_size() > 1:
        said = gather_objects(wrong and f"{wrong} (seen by {who()})")
        wrong = next((words for words in said if words), "")
    if wrong or state is None:
        raise DamagedCheckpoint(f"checkpoint {folder} is damaged: {wrong}")
    return state


def _open(folder: Path, first: int, every: int) -> tuple[State | None, str]:
    """A checkpoint and what is wrong with it; of its files every so many is checked."""
    try:
        written = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        facts, files = written["facts"], _checksums(written)
        sums = [(sha256(folder / name), files[name]) for name in sorted(files)[first::every]]
        sums.append((_digest(facts), written["facts_sha256"]))
        if any(found != expected for found, expected in sums):
            return None, "its checksum does not match"
        whole = set(files) == {TENSORS}
        return State(load_file(folder / TENSORS) if whole else ShardedTensors(folder), facts), ""
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        return None, str(error) or type(error).__name__


def _checksums(written: dict[str, Any]) -> dict[str, str]:
    """Names of files with their checksums, as `seal` writes them now and as it did at first."""
    found = written["files"] if "files" in written else {TENSORS: written["sha256"]}
    if not found or any(Path(name).name != name for name in found):
        raise ValueError(f"its facts name no files of its folder: {sorted(found)}")
    return dict(found)


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
