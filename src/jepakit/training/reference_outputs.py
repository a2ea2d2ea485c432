"""The reference implementation's log and checkpoint files, written beside ours."""

from __future__ import annotations

import csv
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import Field
from torch import Tensor

from jepakit.core import settings as core
from jepakit.core.distributed import Place, mean_over_processes
from jepakit.core.files import write_text, written_whole
from jepakit.core.shards import whole
from jepakit.core.state import State, capture, restore
from jepakit.objectives.objective import Objective
from jepakit.pretrained.meta import ReferenceCheckpoint, networks_of, read_checkpoint
from jepakit.training.reporting import Observer, StepRecord

log = logging.getLogger(__name__)

HEADER = ["epoch", "itr", "loss", "mask-A", "mask-B", "time (ms)"]
EPOCHS_BETWEEN_KEPT_FILES = 50

Moment = float | torch.cuda.Event


class ReferenceOutputSettings(core.Settings):
    """Names of the reference's files in the run folder."""

    tag: str = Field("jepa", min_length=1, description="how the names of the files begin")
    continue_from: str | None = Field(
        None, description="a .pth.tar to begin with, if the run has no checkpoint of ours yet"
    )

    @property
    def latest(self) -> str:
        """Name of the file that every epoch replaces."""
        return f"{self.tag}-latest.pth.tar"


class ReferenceOutputs(Observer):
    """Writes `params-ijepa.yaml`, `{tag}_r{rank}.csv` and `{tag}-….pth.tar` (first process only).

    One row per step: epoch from 1, iteration within the epoch from 0, the loss over all processes,
    context tokens, tokens per target block, and milliseconds since the step before. Rows wait on
    the device until `flush_every` steps are done or an epoch ends. A new run puts files of an
    earlier one aside; a continued run cuts the log at the step where it continues. `params` are
    the reference's keys for this run, `beyond` what they cannot say (written as comments).
    """

    def __init__(
        self,
        settings: ReferenceOutputSettings,
        *,
        folder: Path,
        params: dict[str, Any],
        beyond: Sequence[str],
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        steps_per_epoch: int,
        num_steps: int,
        device_batch: int,
        flush_every: int,
        place: Place,
        device: torch.device,
    ) -> None:
        self.settings, self.folder = settings, folder
        self.params, self.beyond = params, beyond
        self.objective, self.optimizer = objective, optimizer
        self.steps_per_epoch, self.num_steps = steps_per_epoch, num_steps
        self.device_batch, self.flush_every = device_batch, flush_every
        self.place, self.device = place, device
        self.log_path = folder / f"{settings.tag}_r{place.rank}.csv"
        self.waiting: list[tuple[int, Tensor, int, int, Moment, Moment]] = []
        self.rows: list[str] = []  # written as soon as the disk has room
        self.epoch_losses: list[float] = []

    def start(self, step: int) -> None:
        """Open the log at the number of steps done before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if step == 0:
            self._put_aside()
        rows = _rows_before(self.log_path, step, self.steps_per_epoch)
        with written_whole(self.log_path) as beside, beside.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
        if self.place.is_first:
            self._write_params()
        self.last = self._now()

    def step_done(self, record: StepRecord) -> None:
        """Remember the step; write when it is time."""
        masks, now = record.batch.masks, self._now()
        # The mean is taken here, where all processes are, and not when the rows are written.
        loss = mean_over_processes(record.loss.detach())
        sizes = (masks.context.shape[-1], masks.targets.shape[-1])
        self.waiting.append((record.step, loss, *sizes, self.last, now))
        self.last = now
        ends_epoch = record.step % self.steps_per_epoch == 0 or record.step == self.num_steps
        if ends_epoch or record.step % self.flush_every == 0:
            self.flush()
        if ends_epoch:
            self._save(record.step)
            self.epoch_losses = []
            self.last = self._now()

    def flush(self) -> None:
        """Write the rows that wait; this waits for the device."""
        if not self.waiting:
            return
        losses = torch.stack([row[1].float() for row in self.waiting]).tolist()
        rows = []
        for (step, _, *sizes, before, after), loss in zip(self.waiting, losses, strict=True):
            epoch, iteration = divmod(step - 1, self.steps_per_epoch)
            milliseconds = round(_milliseconds(before, after))
            rows.append(f"{epoch + 1},{iteration},{loss:.5f},{sizes[0]},{sizes[1]},{milliseconds}")
        self.epoch_losses += losses
        self.waiting = []
        self.rows += rows
        self._write_rows()

    def _write_rows(self) -> None:
        """Write all rows that wait, or none: a full disk does not end the run."""
        text = "".join(f"{row}\n" for row in self.rows).encode()
        with self.log_path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                if file.write(text) != len(text):
                    raise OSError("the rows do not fit")
            except OSError as error:
                file.truncate(end)
                log.warning("%s waits for room on the disk: %s", self.log_path, error)
                return
        self.rows = []

    def close(self) -> None:
        """Write what is left."""
        self.flush()

    def _write_params(self) -> None:
        lines = [f"# not expressed by these keys: {setting}\n" for setting in self.beyond]
        lines.append(yaml.safe_dump(self.params))
        write_text(self.folder / "params-ijepa.yaml", "".join(lines))

    def _save(self, step: int) -> None:
        # Networks that are spread over processes are gathered by all of them.
        networks = {name: whole(v) for name, v in self.objective.state_dict().items()}
        optimizer = self.optimizer.state_dict()
        optimizer["state"] = {
            place: {name: whole(value) for name, value in moments.items()}
            for place, moments in optimizer["state"].items()
        }
        if not self.place.is_first:
            return
        epochs_done = -(-step // self.steps_per_epoch)
        content = {
            **networks_of(networks),
            "opt": optimizer,
            "scaler": None,
            "epoch": epochs_done,
            "loss": sum(self.epoch_losses) / max(len(self.epoch_losses), 1),
            "batch_size": self.device_batch,
            "world_size": self.place.world_size,
            "lr": float(self.optimizer.param_groups[0]["lr"]),
        }
        names = [self.settings.latest]
        if epochs_done % EPOCHS_BETWEEN_KEPT_FILES == 0:
            names.append(f"{self.settings.tag}-ep{epochs_done}.pth.tar")
        for name in names:
            try:
                with written_whole(self.folder / name) as beside:
                    torch.save(content, beside)
            except (OSError, RuntimeError) as error:  # torch.save says RuntimeError
                log.error("%s could not be written: %s. Make room", self.folder / name, error)

    def _put_aside(self) -> None:
        """Rename what an earlier run left under our names, so that nothing is overwritten."""
        ours = [self.log_path]
        if self.place.is_first:
            ours += sorted(self.folder.glob(f"{self.settings.tag}-*.pth.tar"))
        for path in (p for p in ours if p.exists()):
            number = 1
            while (aside := path.with_name(f"{path.name}.before-{number}")).exists():
                number += 1
            os.rename(path, aside)
            log.warning("%s of an earlier run is now %s", path, aside.name)

    def _now(self) -> Moment:
        """A moment on the device's own clock, without waiting for it."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _milliseconds(before: Moment, after: Moment) -> float:
    if isinstance(before, float) or isinstance(after, float):
        assert isinstance(before, float)
        assert isinstance(after, float)
        return 1000 * (after - before)
    return before.elapsed_time(after)


def _rows_before(path: Path, step: int, steps_per_epoch: int) -> list[list[str]]:
    """The whole rows of the log's first `step` steps."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = [r for r in csv.reader(file) if len(r) == len(HEADER) and r[0].isdigit()]
    return [r for r in rows if (int(r[0]) - 1) * steps_per_epoch + int(r[1]) < step]


def continue_from_reference(
    settings: ReferenceOutputSettings,
    folder: Path,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    steps_per_epoch: int,
) -> int:
    """Take up the settings' `continue_from`, a file in the run folder; returns the steps done.

    For runs that have no checkpoint of ours. A file that was named must be there; the latest one
    may be missing, at the very beginning of a run, and the log then says so.
    """
    if settings.continue_from is None:
        return 0
    path = folder / settings.continue_from
    if settings.continue_from == settings.latest and not path.exists():
        log.warning("there is no %s to continue from: the run begins at epoch 1", path)
        return 0
    checkpoint = read_checkpoint(path)
    state = state_of(checkpoint, objective, optimizer, steps_per_epoch)
    restore(state, objective, optimizer)
    log.info("continuing from %s after %d epochs", path, checkpoint.epoch)
    return state.step


def state_of(
    checkpoint: ReferenceCheckpoint,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    steps_per_epoch: int,
) -> State:
    """The reference's checkpoint as one of ours, for this objective and this optimizer."""
    here = capture(objective, optimizer, step=checkpoint.epoch * steps_per_epoch)
    ours = {n: t for n, t in here.tensors.items() if n.startswith("random/")}
    networks = {f"objective/{n}": t for n, t in checkpoint.objective_state().items()}
    return State({**ours, **networks, **_moments(checkpoint, optimizer)}, here.facts)


def _moments(
    checkpoint: ReferenceCheckpoint, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """The optimizer's tensors under our names.

    The reference's groups may also list frozen parameters (the positions); these have no state.
    """
    theirs = checkpoint.optimizer
    if theirs is None:
        raise ValueError("the checkpoint holds no optimizer state (`opt`): it cannot be continued")
    mine = optimizer.state_dict()["param_groups"]
    if len(mine) != len(theirs["param_groups"]):
        raise ValueError(
            f"the checkpoint's optimizer has {len(theirs['param_groups'])} groups of parameters "
            f"and this run's has {len(mine)}: it was saved by another kind of training"
        )
    tensors: dict[str, Tensor] = {}
    for place, (group, other) in enumerate(zip(mine, theirs["param_groups"], strict=True)):
        moved = [p for p in other["params"] if p in theirs["state"]]
        shapes = [tuple(p.shape) for p in optimizer.param_groups[place]["params"]]
        found = [_largest(theirs["state"][p]) for p in moved]
        if found and found != shapes:
            raise ValueError(
                f"the checkpoint's optimizer group {place} holds other parameters than this run: "
                "restore the settings that the checkpoint was trained with"
            )
        for ours, name in zip(group["params"], moved, strict=False):
            for key, value in theirs["state"][name].items():
                tensors[f"optimizer/{ours}/{key}"] = torch.as_tensor(value, dtype=torch.float32)
    return tensors


def _largest(moments: dict[str, Any]) -> tuple[int, ...]:
    """The shape of a parameter's moments; beside them there may be a number of steps."""
    return max((tuple(torch.as_tensor(value).shape) for value in moments.values()), key=len)
