"""`jepa evaluate`: any encoder through the paper's protocols, beside two baselines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from jepakit.core.devices import choose_device
from jepakit.data.sources import Source, short_name
from jepakit.data.sources.arrays import ArraySource
from jepakit.data.splits import TrainAndTest, train_and_test
from jepakit.evaluation.comparison import Comparison
from jepakit.evaluation.picture_evaluation import Tell
from jepakit.pretrained.names import KINDS, names_and_settings
from jepakit.runs.automatic import MEMORY
from jepakit.runs.channel_values import doubt_about_values, used_values
from jepakit.runs.evaluation import Evaluated, evaluate_candidates
from jepakit.runs.evaluation_page import write_evaluation
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.folder import RunFolder
from jepakit.runs.given_pictures import open_given, parse_values
from jepakit.runs.own_pictures import own_parts
from jepakit.runs.run_state import run_state
from jepakit.runs.subjects import Candidate, open_candidates
from jepakit.runs.yaml_file import apply_overrides, check, read_yaml

_USUAL_NEIGHBOURS = 20


def evaluate(
    words: Sequence[str],
    data: str | Path | None,
    tasks: str | None,
    config: Path | None,
    seeds: int | None,
    size: int | None,
    values: str | None,
    out: Path | None,
) -> int:
    """Print the table of scores; write `scores.json` and `evaluation.html`."""
    console = Console()
    names, overrides = names_and_settings(words)
    content = read_yaml(config) if config else {}
    if tasks:
        content["tasks"] = [task.strip() for task in tasks.split(",")]
    if seeds:
        content["seeds"] = seeds
    if size is not None:
        content["size"] = size
    if values is not None:
        content["values"] = parse_values(values)
    settings = check(EvaluationSettings, apply_overrides(content, overrides))
    evaluated, folder = evaluate_named(
        names, data, settings, out, lambda line: console.print(line, style="dim", highlight=False)
    )
    options: dict[str, object] = {"data": data, "tasks": tasks, "config": config}
    options |= {"seeds": seeds, "size": size, "values": values, "out": out}
    given = [word for name, value in options.items() for word in _option(name, value)]
    command = shlex.join(["jepa", "evaluate", *words, *given])
    comparison = evaluated.comparison
    if told := replaced(folder.scores, comparison):
        console.print(told, style="dim", highlight=False, soft_wrap=True)
    write_evaluation(evaluated, settings, folder, command)
    console.print(comparison.table(main_columns(comparison)))
    for line in deviations(comparison):
        console.print(line, style="dim", highlight=False)
    console.print(
        f"all scores: {folder.scores}\nopen {folder.evaluation_page.resolve()}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def evaluate_named(
    names: Sequence[str],
    data: str | Path | Source | None,
    settings: EvaluationSettings,
    out: Path | None,
    tell: Tell,
) -> tuple[Evaluated, RunFolder]:
    """Open what the names stand for, and evaluate it."""
    if not names:
        raise ValueError(f"name what to evaluate: {KINDS}, e.g. jepa evaluate runs/demo")
    device = choose_device()
    candidates = [
        candidate
        for name in names
        for candidate in open_candidates(name, device, settings.encoder, settings.size)
    ]
    for folder, step in dict.fromkeys((c.folder, c.step) for c in candidates):
        _tell_if_unfinished(folder, step, tell)
    parts = _parts(candidates[0], data, settings)
    if told := doubt_about_values(parts.test):
        tell(told)
    fingerprint = parts.fingerprint()
    results = RunFolder(out or _usual_folder(names, candidates[0], data, fingerprint))
    results.path.mkdir(parents=True, exist_ok=True)
    try:
        with torch.inference_mode(False):
            found = evaluate_candidates(candidates, parts, settings, results.evaluation, tell)
    except ValueError:
        with suppress(OSError):  # it holds something
            results.path.rmdir()
        raise
    which = {
        "pictures": _pictures(candidates[0], data),
        "fingerprint": fingerprint,
        "learned_from": _learned_from(candidates[0], data, parts),
        "values": used_values(parts.test),
    }
    return replace(found, comparison=found.comparison.model_copy(update=which)), results


def _pictures(first: Candidate, data: str | Path | Source | None) -> str:
    if isinstance(data, Source):
        return f"{len(data):,} pictures of a program"
    if data is not None or first.config is None:
        return str(data)
    source = first.config.data.source
    return str(getattr(source, "path", source.kind))


def _learned_from(first: Candidate, data: str | Path | Source | None, parts: TrainAndTest) -> bool:
    """Whether the test pictures are a share of those that the run is known to have learned from."""
    if first.config is None or parts.test is not parts.train or isinstance(data, Source):
        return False
    own = getattr(first.config.data.source, "path", None)
    return data is None or (own is not None and Path(data).resolve() == Path(own).resolve())


def replaced(path: Path, new: Comparison) -> str:
    """A sentence, if the scores that lie there are of pictures of another size or number."""
    if not path.is_file():
        return ""
    old = Comparison.load(path)
    same = old.fingerprint in ("", new.fingerprint)
    if same and old.caption() == new.caption():
        return ""
    which = "" if same else f" of {old.pictures}"
    return (
        f"{path} held other scores, which these replace ({old.caption()}{which}): for both, do "
        "this again with --out ANOTHER_FOLDER"
    )


def _tell_if_unfinished(folder: Path | None, step: int | None, tell: Tell) -> None:
    if folder is None or step is None:
        return
    num_steps = run_state(folder).num_steps
    if num_steps is not None and step < num_steps:
        tell(f"{folder} is evaluated as it was at step {step} of {num_steps}: not yet finished")


def _option(name: str, value: object) -> list[str]:
    return [] if value is None else [f"--{name}", str(value)]


def _usual_folder(
    names: Sequence[str], first: Candidate, data: str | Path | Source | None, pictures: str
) -> Path:
    """A single run's own folder, or one in it per dataset; else one under `runs/evaluations`."""
    named = MEMORY if isinstance(data, Source) else data
    on = [] if named is None else [short_name(named)]
    if len(names) == 1 and first.folder is not None:
        if not on:
            return first.folder
        return _of_these_pictures(RunFolder(first.folder).evaluations.joinpath(*on), pictures)
    name = "-".join(_plain(Path(n).name) for n in names)
    return _of_these_pictures(Path("runs/evaluations") / "-on-".join([name[:80], *on]), pictures)


def _of_these_pictures(folder: Path, pictures: str) -> Path:
    """The folder, or one beside it if it holds scores of others: many are called `train`."""
    scores = RunFolder(folder).scores
    if not scores.is_file() or Comparison.load(scores).fingerprint in ("", pictures):
        return folder
    return folder.with_name(f"{folder.name}-{pictures[:6]}")


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name) or "data"


def _parts(
    first: Candidate, data: str | Path | Source | None, settings: EvaluationSettings
) -> TrainAndTest:
    """The two parts of the dataset: the one named, or that of the first run's training."""
    channels = first.subject.backbone.num_channels
    if isinstance(data, ArraySource):
        values = settings.values or data.settings.values or first.values
        parts: dict[str, Source] = {"all": data.reading(values, channels)}
    elif isinstance(data, Source):
        parts = {"all": data}
    elif data is not None:
        parts = open_given(data, channels, settings.values, trained=first.values)
    elif settings.values is not None:
        raise ValueError("--values is for other pictures than the run's: name them with --data")
    elif first.config is None:
        raise ValueError("name the pictures to evaluate on: --data PICTURES")
    else:
        parts = own_parts(first.config)
    return train_and_test(parts, settings.seed, settings.test_share)


def deviations(comparison: Comparison) -> list[str]:
    """One line per row about what was repeated: the deviation of each score, in points."""
    end = "/deviation"
    lines = []
    for row, chosen in comparison.chosen.items():
        found = {name.removesuffix(end): v for name, v in chosen.items() if name.endswith(end)}
        if found:
            told = ", ".join(f"{name} {100 * value:.1f}" for name, value in found.items())
            lines.append(f"deviation over seeds, {row}: {told}")
    return lines


def main_columns(comparison: Comparison) -> list[str]:
    """The columns worth a place on the terminal: one k-NN, every probe, few details."""
    columns = comparison.columns
    neighbours = {int(k) for c in columns for k in re.findall(r"knn_(\d+)$", c)}
    usual = _USUAL_NEIGHBOURS if _USUAL_NEIGHBOURS in neighbours else max(neighbours, default=0)
    shown = [c for c in columns if not re.search(r"knn_\d+$", c) or c.endswith(f"knn_{usual}")]
    if any(c.startswith("mean/") for c in columns):
        shown = [c for c in shown if not re.search(r"(?<!mean)/knn_\d+$", c)]
    return shown or columns
