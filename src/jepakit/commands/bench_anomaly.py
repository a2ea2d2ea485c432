"""jepa bench anomaly: whether energy finds what was planted in scenes, beside three controls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from jepakit.commands.counted_work import CountedSteps
from jepakit.core.devices import choose_device, choose_precision
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.runs.seeing.anomaly import measure_anomalies
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.settings import SeeingSettings
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import apply_overrides, check


def bench_anomaly(model: str, words: Sequence[str], out: Path | None, device: str) -> int:
    """Print the table of AUROCs; write it as JSON if asked for."""
    console = Console()
    settings = check(SeeingSettings, apply_overrides({}, words))
    chosen = choose_device(device)
    loaded = load_weights(model, chosen)
    source = ProceduralScenes(ProceduralScenes.Settings(size=loaded.size))
    precision = choose_precision(chosen, "auto")
    counting = CountedSteps(console)
    looking = Looking(loaded, source, loaded.size, settings, chosen, precision, counting=counting)
    number = settings.anomaly.pictures
    console.print(f"{number} scenes of each kind (anomaly.pictures)")
    try:
        comparison = measure_anomalies(looking).comparison
    except KeyboardInterrupt:
        return counting.exit_code
    console.print(comparison.table())
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        comparison.save(out)
        console.print(f"written: {out}", markup=False, highlight=False, soft_wrap=True)
    return 0
