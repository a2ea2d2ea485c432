"""`jepa doctor`: everything that can be known about a run before it starts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from jepakit.core.checkpoint import CheckpointFolder
from jepakit.core.devices import choose_device
from jepakit.core.distributed import Place
from jepakit.data.broken_pictures import TooManyBroken
from jepakit.data.sources import Source
from jepakit.runs.assemble import assemble
from jepakit.runs.config import RunConfig
from jepakit.runs.continuing import check_pictures_before, check_settings
from jepakit.runs.folder import RunFolder
from jepakit.runs.preflight import Finding, examine, show, time_needed
from jepakit.runs.resolve import resolve_training


def doctor(
    config: Path | None, overrides: Sequence[str], data: str | Path | None, devices: Sequence[str]
) -> int:
    """Examine the run, train a few steps in a temporary folder to time them; 1 if it cannot run."""
    console = Console()
    resolved, told = resolve_training(config, overrides, data, devices)
    if told:
        console.print(told)
    with tempfile.TemporaryDirectory(prefix="jepa-doctor-") as folder:
        findings = _findings(resolved, Path(folder), console)
    show(findings, console)
    return int(any(finding.verdict == "stop" for finding in findings))


def _folder(config: RunConfig, source: Source, num_steps: int) -> Finding:
    """Whether the run would begin in its folder, go on there, is finished, or would be refused."""
    if not RunFolder(config.folder).holds_checkpoints():
        return Finding("folder", "ok", f"{config.folder}: the run begins there")
    try:
        check_settings(config)
        check_pictures_before(config, source)
    except ValueError as error:
        return Finding("folder", "stop", str(error))
    done = max(CheckpointFolder(RunFolder(config.folder).checkpoints, config.checkpoint).steps())
    if done >= num_steps:
        told = f"the run there has done all {done} steps; to begin anew: folder=NEW"
        return Finding("folder", "mind", f"{config.folder}: {told}")
    told = f"the run there goes on from step {done} of {num_steps}, with its settings"
    return Finding("folder", "ok", f"{config.folder}: {told}")


def _findings(config: RunConfig, folder: Path, console: Console) -> list[Finding]:
    findings: list[Finding] = []
    trial = config.model_copy(update={"folder": folder})
    try:
        trainer, networks = assemble(trial, Place(), choose_device(trial.devices[0]), console)
        with closing(trainer):
            findings.append(_folder(config, trainer.source, trainer.schedules.num_steps))
            findings += examine(config, trainer, networks)
            if not any(finding.verdict == "stop" for finding in findings):
                findings.append(time_needed(trainer))
    except TooManyBroken as error:
        seen = error.found.describe(tell_file=False)  # the list goes with the folder
        words = f"stopped reading: {seen}; jepa data inspect PICTURES lists all of them"
        findings.append(Finding("reading", "stop", words))
    return findings
