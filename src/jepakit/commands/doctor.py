"""`jepa doctor`: everything that can be known about a run before it starts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from jepakit.core.devices import choose_device
from jepakit.core.distributed import Place
from jepakit.runs.assemble import assemble
from jepakit.runs.preflight import examine, show, time_needed
from jepakit.runs.resolve import resolve


def doctor(
    config: Path | None, overrides: Sequence[str], data: str | Path | None, devices: Sequence[str]
) -> int:
    """Examine the run, train a few steps in a temporary folder to time them; 1 if it cannot run."""
    console = Console()
    resolved, reasons = resolve(config, overrides, data, devices)
    if reasons:
        console.print(reasons)
    with tempfile.TemporaryDirectory(prefix="jepa-doctor-") as folder:
        trial = resolved.model_copy(update={"folder": Path(folder)})
        trainer, networks = assemble(trial, Place(), choose_device(trial.devices[0]), console)
        with closing(trainer):
            findings = examine(resolved, trainer, networks)
            if not any(finding.verdict == "stop" for finding in findings):
                findings.append(time_needed(trainer))
    show(findings, console)
    return int(any(finding.verdict == "stop" for finding in findings))
