"""`jepa pretrain --slurm`: the run as a job of a SLURM cluster, or what would be submitted."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from jepakit.core.files import write_text
from jepakit.launch.slurm import SubmittedTask, batch_script, submit, with_gpus_counted
from jepakit.launch.slurm_queue import cancel, is_here, look_up
from jepakit.launch.slurm_settings import SlurmSettings
from jepakit.runs.config import RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.jobs import JobNote, write_note
from jepakit.runs.resolve import resolve_training
from jepakit.runs.yaml_file import check

SECONDS_FOR_A_REASON = 1.5  # until SLURM says why a job does not start


@dataclass(frozen=True)
class Submission:
    """One run that is to become a job."""

    name: str  # as the user named it
    file: Path | None  # its config, of which a copy is submitted
    words: tuple[str, ...]  # after `jepa pretrain CONFIG`
    config: RunConfig


def pretrain_on_slurm(
    config: Path | None,
    words: Sequence[str],
    data: str | None,
    slurm: Sequence[str],
    dry_run: bool,
) -> int:
    """Submit the training; the words after `--slurm` may hold some of the run's settings too."""
    asked, of_the_run = settings_from(slurm)
    words = [*words, *of_the_run]
    asked = _counted(asked, dry_run)
    resolved, _ = resolve_training(config, words, data, ["auto"] * asked.num_processes)
    folder = resolved.folder.absolute()
    words = [*words, f"folder={folder}"]
    if data is not None:
        words += ["--data", str(Path(data).absolute()) if Path(data).exists() else data]
    submission = Submission(str(config or data), config, tuple(words), resolved)
    return submit_all([submission], asked, None, dry_run)


def submit_all(
    submissions: Sequence[Submission], settings: SlurmSettings, logs: Path | None, dry_run: bool
) -> int:
    """Submit one job per run, all of them or none, and print their numbers."""
    settings = _counted(settings, dry_run)
    numbers: list[str] = []
    for submission in submissions:
        asked = _with_cores(settings, submission.config)
        place = (logs or asked.logs or RunFolder(submission.config.folder).jobs).absolute()
        if dry_run:
            sys.stdout.write(batch_script(asked, place))
            continue
        try:
            numbers.append(_submit(submission, asked, place))
        except ValueError:
            for number in numbers:
                cancel(number)
            raise
        print(f"{submission.name}: job {numbers[-1]}, logs in {place / f'job_{numbers[-1]}'}")
    for number in numbers:
        _tell_if_in_vain(number)
    return 0


def _submit(submission: Submission, settings: SlurmSettings, logs: Path) -> str:
    run = submission.config.folder.absolute()
    device = "cpu" if settings.device == "cpu" else "auto"
    words = ["pretrain"]
    if submission.file is not None:
        words.append(str(_copy(submission.file, logs)))
    words += [*submission.words, "--devices", device]
    task = SubmittedTask(
        tuple(words), run, logs, settings.device, settings.restarts, settings.seconds_to_save
    )
    number = submit(task, settings, logs)
    now = datetime.now().isoformat(timespec="microseconds")
    write_note(JobNote(number, run, logs / f"job_{number}", now, settings.num_processes))
    return number


def _copy(file: Path, logs: Path) -> Path:
    """The config as it is now: what is changed while the job waits is not meant for it."""
    text = file.read_text(encoding="utf-8")
    number = hashlib.sha256(text.encode()).hexdigest()[:8]
    copy = logs / f"{file.stem}-{number}.yaml"
    write_text(copy, text)
    return copy


def _counted(settings: SlurmSettings, dry_run: bool) -> SlurmSettings:
    """With the number of GPUs; told if there are none, though none were ruled out."""
    if dry_run and not is_here():
        return settings
    counted = with_gpus_counted(settings)
    if settings.gpus_per_node == "auto" and settings.device != "cpu" and not counted.gpus_per_node:
        print(
            f"partition {settings.partition or '(default)'} has no GPUs: "
            f"{counted.num_processes} processes will train on CPUs",
            file=sys.stderr,
        )
    return counted


def _with_cores(settings: SlurmSettings, config: RunConfig) -> SlurmSettings:
    """One core per process that loads pictures, unless the settings say how many."""
    workers = config.data.num_workers
    if settings.cpus_per_task is not None or not isinstance(workers, int):
        return settings
    return settings.model_copy(update={"cpus_per_task": max(1, workers)})


def _tell_if_in_vain(number: str) -> None:
    """SLURM accepts some jobs that can never start."""
    deadline = time.monotonic() + SECONDS_FOR_A_REASON
    while (job := look_up(number)) is not None and job.state == "PENDING":
        if job.waits_in_vain:
            print(f"job {number} cannot start ({job.reason}): {job.waits_in_vain}", file=sys.stderr)
            return
        if time.monotonic() > deadline:
            return
        time.sleep(0.1)


def settings_from(words: Sequence[str]) -> tuple[SlurmSettings, list[str]]:
    """The words after `--slurm` as settings, and those among them that are the run's.

    `partition=lab,nodes=2` is two words; `file=FILE` names a YAML file of such settings, over which
    the other words prevail.
    """
    content: dict[str, Any] = {}
    of_the_run: list[str] = []
    for word in _separated(words):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"--slurm {word!r} is not a setting: write name=value, e.g. nodes=2")
        first, _, rest = name.partition(".")
        of_slurm = first in SlurmSettings.model_fields or first == "file"
        if not of_slurm and (rest or first in RunConfig.model_fields):
            of_the_run.append(word)
        elif rest:
            content[first] = {**content.get(first, {}), rest: value}
        elif name == "setup":
            content["setup"] = [*content.get("setup", []), value]
        else:
            content[name] = value
    return _checked(content), of_the_run


def _checked(content: dict[str, Any]) -> SlurmSettings:
    file = content.pop("file", None)
    if file is not None:
        if not Path(file).is_file():
            raise ValueError(f"--slurm file={file}: there is no such file")
        # Everything stays text: YAML would take 12:00:00 for a number.
        listed = yaml.load(Path(file).read_text(encoding="utf-8"), yaml.BaseLoader)
        if not isinstance(listed, dict):
            raise ValueError(f"{file} must hold settings as `name: value` lines")
        content = listed | content
    try:
        return check(SlurmSettings, content)
    except ValueError as error:
        raise ValueError(f"--slurm: {error}") from None


def _separated(words: Sequence[str]) -> list[str]:
    """Commas separate settings where a name follows: not in `exclude=n1,n2`."""
    return [part for word in words for part in re.split(r",(?=[a-z_.A-Z]+=)", word) if part]
