"""`jepa demo`: the whole tour on built-in scenes, in minutes: pretrain, evaluate, write a page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from statistics import mean

import torch
from rich.console import Console

from jepakit.commands.bench_step import StepBench
from jepakit.commands.evaluate import evaluate_named
from jepakit.commands.pretrain import launch_or_train
from jepakit.commands.report import looking_at, opened
from jepakit.core.devices import choose_device
from jepakit.core.distributed import Place
from jepakit.core.durations import in_words
from jepakit.evaluation.questions import DEMO_QUESTIONS
from jepakit.launch.local import num_cores
from jepakit.runs.config import RunConfig
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.folder import RunFolder
from jepakit.runs.report import Judged, write_report
from jepakit.runs.yaml_file import apply_overrides, check, read_yaml

SETTINGS = EvaluationSettings(
    tasks=("knn", "linear"), questions=DEMO_QUESTIONS, num_train=8000, num_test=2000
)
COLUMNS = ("mean/knn_20", *(f"{name}/linear" for name in DEMO_QUESTIONS), "mean/linear")
TIME_TO_TRAIN = 185.0  # seconds; with drawing the scenes, pretraining ends within four minutes
FEWEST_EPOCHS = 0.5
SECONDS_TO_TIME = 3.0  # either way: from moment to moment, shared machines differ by a quarter
BESIDE_LOADING = 0.9  # speed of a process that also loads pictures
BESIDE_ANOTHER = 0.7  # and beside which another process computes
WAYS_ON_CORES = (("cpu",), ("cpu", "cpu"))  # threads of one process, or two processes


def demo(folder: Path, overrides: Sequence[str]) -> int:
    """Run the demo in a folder; run again it continues, or shows again what is there."""
    console = Console()
    begin = time.monotonic()
    recipe = Path(str(files("jepakit") / "runs" / "demo.yaml"))
    content = apply_overrides(read_yaml(recipe), [f"folder={folder}", *overrides])
    config = check(RunConfig, content)
    wanted = config.optimization.epochs
    config = in_time(config, overrides, console)
    console.print("[bold]1 of 3: pretraining on procedural scenes, without labels[/]")
    code = launch_or_train(config, Place(), console)
    if code:
        return code
    trained_after = time.monotonic() - begin
    console.print("[bold]2 of 3: k-NN and linear probes of the frozen encoder[/]")
    tell = lambda line: console.print(line, style="dim")  # noqa: E731
    evaluated, _ = evaluate_named([str(folder)], None, SETTINGS, folder, tell)
    comparison = evaluated.comparison
    comparison.save(RunFolder(folder).scores)
    console.print(comparison.table(COLUMNS))
    console.print("[bold]3 of 3: the page[/]")
    loaded = opened(folder, choose_device(config.devices[0]))
    trained, looking = loaded.trained, looking_at(loaded, config.devices[0])
    assert trained is not None
    command, notes = again(config, overrides), _notes(config.optimization.epochs, wanted)
    judged = [Judged(comparison, COLUMNS, "scenes")]
    page = write_report(trained, looking, judged, command, tell=tell, notes=notes)
    best = COLUMNS[-1]
    row = next(iter(comparison.scores))
    console.print(
        f"{row}: {100 * comparison.value(row, best):.1f} % on the mean of the tasks, "
        f"{100 * comparison.margin(row, best).value:+.1f} points against the best baseline.",
        highlight=False,
    )
    console.print(
        f"pretraining {in_words(trained_after)}, everything "
        f"{in_words(time.monotonic() - begin)}\n"
        f"these scores again: jepa evaluate {folder} {shlex.join(evaluation_words())}\n"
        f"more questions, of more scenes: jepa evaluate {folder}\nopen {page.resolve()}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0


def again(config: RunConfig, overrides: Sequence[str]) -> str:
    """The command that repeats this demo, whatever the machine's speed is then."""
    words = [f"optimization.epochs={config.optimization.epochs:g}"]
    words.append(f"devices=[{','.join(config.devices)}]")
    said = {word.partition("=")[0] for word in overrides}
    words = [*overrides, *(word for word in words if word.partition("=")[0] not in said)]
    return shlex.join(["jepa", "demo", "--folder", f"{config.folder}-again", *words])


def evaluation_words() -> list[str]:
    """What `jepa evaluate` is told to score a run as the demo does."""
    questions = f"questions=[{','.join(DEMO_QUESTIONS)}]"
    return [questions, f"num_train={SETTINGS.num_train}", f"num_test={SETTINGS.num_test}"]


def _notes(epochs: float, wanted: float) -> list[str]:
    if epochs >= wanted:
        return []
    return [
        f"This run was shortened to {epochs:g} of the recipe's {wanted:g} epochs, so that it ends "
        "in a few minutes on this machine. The whole recipe scores higher (results/scenes-cpu)."
    ]


def in_time(config: RunConfig, overrides: Sequence[str], console: Console) -> RunConfig:
    """The recipe on all cores, shortened where it would need more than a few minutes.

    What the user said, and what a run in this folder began with, stays.
    """
    is_said = any(word.startswith("optimization.epochs=") for word in overrides)
    if is_said and config.devices != ("auto",):
        return config  # nothing is left to measure
    begun, wanted = RunFolder(config.folder).config, config.optimization.epochs
    if begun.exists():
        before = check(RunConfig, read_yaml(begun))
        devices = before.devices if config.devices == ("auto",) else config.devices
        return _of_length(config, devices, wanted if is_said else before.optimization.epochs)
    devices, speed = fastest(config)
    if is_said:
        return _of_length(config, devices, wanted)
    scenes = config.data.source.num_pictures  # type: ignore[union-attr]
    epochs = min(wanted, max(FEWEST_EPOCHS, round(TIME_TO_TRAIN * speed / scenes, 1)))
    if epochs < wanted:
        console.print(
            f"this machine makes about {speed:.0f} images/s, so it trains {epochs:g} of "
            f"{wanted:g} epochs; for all: jepa demo --folder {config.folder}-whole "
            f"optimization.epochs={wanted:g}",
            highlight=False,
        )
    return _of_length(config, devices, epochs)


def _of_length(config: RunConfig, devices: tuple[str, ...], epochs: float) -> RunConfig:
    optimization = config.optimization.model_copy(update={"epochs": epochs})
    return config.model_copy(update={"devices": devices, "optimization": optimization})


def fastest(config: RunConfig) -> tuple[tuple[str, ...], float]:
    """The devices on which the run is fastest, and images/s there.

    In a network this small, threads of one process are faster on idle cores, but wait for each
    other at every product, and so lose most where other programs compute: measured, not guessed.
    """
    ways: Sequence[tuple[str, ...]] = (config.devices,)
    if config.devices == ("auto",) and choose_device().type == "cpu" and num_cores() > 1:
        ways = WAYS_ON_CORES
    speeds = {way: images_per_second(config.model_copy(update={"devices": way})) for way in ways}
    best = max(speeds, key=speeds.__getitem__)
    return best, speeds[best]


def images_per_second(config: RunConfig) -> float:
    """Of all processes together, from seconds of one of them."""
    device = choose_device(config.devices[0])
    num_processes, threads = len(config.devices), torch.get_num_threads()
    count = max(1, config.batch.size // num_processes)
    try:
        torch.set_num_threads(max(1, threads // num_processes))
        bench = StepBench(config, device, count)
        bench.step()  # the first is slower
        times: list[float] = []
        while sum(times) < SECONDS_TO_TIME:
            times.append(bench.seconds_of(bench.step))
    finally:
        torch.set_num_threads(threads)
    share = BESIDE_ANOTHER if num_processes > 1 else BESIDE_LOADING
    return num_processes * count / mean(times) * share
