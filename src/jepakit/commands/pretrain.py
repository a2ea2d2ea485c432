"""`jepa pretrain`: train an encoder on a source of pictures, or go on where a run stopped."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from jepakit.core.devices import choose_device
from jepakit.core.distributed import Place, join, leave
from jepakit.core.files import write_text
from jepakit.launch.local import launch
from jepakit.runs.assemble import assemble
from jepakit.runs.config import RunConfig, differences
from jepakit.runs.folder import RunFolder
from jepakit.runs.preflight import preflight
from jepakit.runs.resolve import resolve
from jepakit.runs.yaml_file import check, read_yaml, to_yaml

log = logging.getLogger(__name__)


def pretrain(
    config: Path | None,
    overrides: Sequence[str],
    data: Path | None,
    devices: Sequence[str],
    print_only: bool,
) -> int:
    """Resolve the configuration, then print it, launch one process per device, or train here."""
    console = Console(stderr=True)
    place = Place.from_environment()
    resolved, reasons = resolve(config, overrides, data, devices)
    if print_only:
        sys.stdout.write(to_yaml(resolved))
        return 0
    if place.is_first and reasons and not already_begun(resolved):
        console.print(reasons)
    if len(resolved.devices) > 1 and place.world_size == 1:
        with RunFolder(resolved.folder).held():
            settle(resolved)
        command = [sys.executable, "-m", "jepakit", "pretrain", str(_config_of(resolved))]
        return launch([*command, f"folder={resolved.folder}"], resolved.devices)
    return train(resolved, place, console)


def train(config: RunConfig, place: Place, console: Console) -> int:
    """Train in this process, as one of `place.world_size`; returns the exit code."""
    device = choose_device(device_name(config, place))
    join(place, device)
    try:
        if not place.is_first:
            return _run(config, place, device, console)
        with RunFolder(config.folder).held():
            settle(config)
            _log_to_file(RunFolder(config.folder))
            return _run(config, place, device, console)
    finally:
        leave()


def _run(config: RunConfig, place: Place, device: torch.device, console: Console) -> int:
    trainer, networks = assemble(config, place, device, console)
    total = trainer.schedules.num_steps
    if trainer.step >= total:
        trainer.stream.close()
        console.print(f"This run is finished: {config.folder} holds all {total} steps.")
        return 0
    if place.is_first:
        preflight(config, trainer, networks, console)
    if trainer.step:
        log.info("continuing at step %d of %d", trainer.step, total)
    finished = trainer.run()
    if place.is_first:
        told = "Finished" if finished else "Stopped and saved; the same command continues"
        console.print(f"{told}: {config.folder}", highlight=False)
    return 0 if finished else trainer.interruption.exit_code


def settle(config: RunConfig) -> None:
    """Write the resolved config into a new run folder; refuse to mix two runs in an old one."""
    folder = RunFolder(config.folder)
    if not folder.config.exists():
        write_text(folder.config, to_yaml(config))
        return
    before = check(RunConfig, read_yaml(folder.config))
    changed = differences(before, config)
    if changed:
        raise ValueError(
            f"{config.folder} holds a run with other settings ({'; '.join(changed)}): choose "
            "another folder=NEW, or restore these settings to continue it"
        )


def already_begun(config: RunConfig) -> bool:
    """Whether the run folder holds a run."""
    return RunFolder(config.folder).config.exists()


def device_name(config: RunConfig, place: Place) -> str:
    """The device of this process: as the launcher says, or by its local rank."""
    name = os.environ.get("JEPAKIT_DEVICE") or config.devices[place.rank % len(config.devices)]
    if name == "auto" and place.world_size > 1:
        return f"cuda:{place.local_rank}" if torch.cuda.is_available() else "cpu"
    return name


def _config_of(config: RunConfig) -> Path:
    return RunFolder(config.folder).config


def _log_to_file(folder: RunFolder) -> None:
    handler = logging.FileHandler(folder.log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger("jepakit").addHandler(handler)
