"""`jepa doctor`: everything that can be known about a run before it starts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from jepakit.core.devices import choose_device
from jepakit.core.distributed import Place
from jepakit.data.broken_pictures import TooManyBroken
from jepakit.runs.assemble import assemble
from jepakit.runs.config import RunConfig
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


def _findings(config: RunConfig, folder: Path, console: Console) -> list[Finding]:
    findings: list[Finding] = []
    trial = config.model_copy(update={"folder": folder})
    try:
        trainer, networks = assemble(trial, Place(), choose_device(trial.devices[0]), console)
        with closing(trainer):
            findings += examine(config, trainer, networks)
            if not any(finding.verdict == "stop" for finding in findings):
                findings.append(time_needed(trainer))
    except TooManyBroken as error:
        seen = error.found.describe(tell_file=False)  # the list goes with the folder
        words = f"stopped reading: {seen}; jepa data inspect PICTURES lists all of them"
        findings.append(Finding("reading", "stop", words))
    return findings
