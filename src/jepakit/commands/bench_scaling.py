"""`jepa bench scaling`: training steps in one process and in several, measured in turns."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table

from jepakit.commands.bench_step import StepBench, resolve_without_pictures
from jepakit.core.devices import choose_device, synchronise
from jepakit.core.distributed import Place, leave
from jepakit.core.errors import RunFailed
from jepakit.core.files import write_text
from jepakit.core.joining import ProcessSettings, join
from jepakit.launch.local import launch
from jepakit.training.parallel import parallelise

NUM_WARM = 2  # steps before the clock starts
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Arrangement:
    """So many processes, one per device, with so many threads each."""

    devices: tuple[str, ...]
    threads: int

    @property
    def name(self) -> str:
        """For tables."""
        processes = f"{len(self.devices)} process{'es' if len(self.devices) > 1 else ''}"
        if self.devices[0] != "cpu":
            return f"{processes}, {' '.join(self.devices)}"
        each = " each" if len(self.devices) > 1 else ""
        return f"{processes}, {self.threads} thread{'s' if self.threads > 1 else ''}{each}"


def arrangements(devices: Sequence[str]) -> list[Arrangement]:
    """First what all others are compared with: one process on one device, with one thread."""
    if not devices or set(devices) == {"cpu"}:
        count = max(2, len(devices))
        return [Arrangement(("cpu",) * n, t) for n, t in ((1, 1), (1, count), (count, 1))]
    if len(devices) < 2:
        raise ValueError("--devices names one device: name several, e.g. --devices cuda:0 cuda:1")
    return [Arrangement(tuple(devices[:1]), 1), Arrangement(tuple(devices), 1)]


def bench_scaling(
    config: Path | None,
    overrides: Sequence[str],
    devices: Sequence[str],
    rounds: int,
    steps: int,
    out: Path | None,
) -> int:
    """Run every arrangement once per round, in turns; print images/s and efficiency."""
    console = Console()
    compared = arrangements(devices)
    resolved = resolve_without_pictures(config, overrides, list(compared[-1].devices))
    most = max(len(arrangement.devices) for arrangement in compared)
    if resolved.batch.size % most:
        raise ValueError(
            f"batch.size={resolved.batch.size} does not divide over {most} processes: "
            f"set batch.size={max(1, resolved.batch.size // most) * most}"
        )
    words = [*([str(config)] if config else []), *overrides]
    speeds: dict[str, list[float]] = {arrangement.name: [] for arrangement in compared}
    for _ in range(rounds):
        for arrangement in compared:
            speeds[arrangement.name].append(_measured(arrangement, words, steps))
    console.print(_table(compared, speeds, resolved.batch.size))
    if out is not None:
        content = {
            "words": words,
            "batch": resolved.batch.size,
            "steps": steps,
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "images_per_second": speeds,
        }
        write_text(out, json.dumps(content, indent=1) + "\n")
    return 0


def _measured(arrangement: Arrangement, words: Sequence[str], steps: int) -> float:
    """Images/s of one turn, in processes of its own."""
    with tempfile.TemporaryDirectory(prefix="jepa-scaling-") as folder:
        result = Path(folder) / "speed.json"
        asked = ["--steps", str(steps), "--measure", str(result)]
        command = [sys.executable, "-m", "jepakit", "bench", "scaling", *words, *asked]
        with _threads(arrangement.threads):
            code = launch(command, arrangement.devices)
        if code:
            raise RunFailed(f"{arrangement.name} ended with exit code {code}: see above")
        return float(json.loads(result.read_text(encoding="utf-8")))


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Processes started within use so many threads each."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = str(number)
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def measure_here(config: Path | None, overrides: Sequence[str], steps: int, result: Path) -> int:
    """Time steps in this process, one of a group; the first writes images/s of all together."""
    place = Place.from_environment()
    device = choose_device(os.environ.get("JEPAKIT_DEVICE", "auto"))
    resolved = resolve_without_pictures(config, overrides, [str(device)])
    join(place, device, ProcessSettings(), alone=False)
    try:
        bench = StepBench(resolved, device, count=resolved.batch.size // place.world_size)
        bench.module = parallelise(bench.objective, device)
        for _ in range(NUM_WARM):
            bench.step()
        _meet(device)
        begin = time.perf_counter()
        for _ in range(steps):
            bench.step()
        _meet(device)
        seconds = time.perf_counter() - begin
    finally:
        leave()
    if place.is_first:
        write_text(result, json.dumps(steps * resolved.batch.size / seconds))
    return 0


def _meet(device: torch.device) -> None:
    """Wait until all processes have done all."""
    synchronise(device)
    if dist.is_initialized():
        dist.barrier()


def _table(compared: Sequence[Arrangement], speeds: dict[str, list[float]], batch: int) -> Table:
    """Medians; ratios are medians of those within a round, so that drift cancels."""
    one = speeds[compared[0].name]
    table = Table(title=f"Training steps of {batch} pictures, {len(one)} turns")
    for heading in ("", "images/s", "lowest", "highest", "times one", "efficiency"):
        table.add_column(heading, justify="right" if heading else "left")
    for arrangement in compared:
        found = speeds[arrangement.name]
        ratio = median(a / b for a, b in zip(found, one, strict=True))
        used = len(arrangement.devices) * arrangement.threads
        table.add_row(
            arrangement.name,
            *(f"{value:.1f}" for value in (median(found), min(found), max(found))),
            f"{ratio:.2f}",
            f"{ratio / used:.0%}",
        )
    return table
