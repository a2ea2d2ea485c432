"""`main_distributed.py`: reference files to a cluster, one job each."""

from __future__ import annotations

from pathlib import Path

import yaml

from jepakit.commands.submission import Submission, submit_all
from jepakit.launch.slurm_settings import SlurmSettings
from jepakit.runs.config import RunConfig
from jepakit.runs.reference_yaml import from_reference, is_reference
from jepakit.runs.yaml_file import check, naming, read_yaml


def submit_training(
    fname: Path,
    settings: SlurmSettings,
    logs: Path,
    batch_launch: bool = False,
    dry_run: bool = False,
) -> int:
    """Submit the training that a file describes, or with `batch_launch` those that it lists.

    Every file is checked before anything is submitted. Prints the jobs' numbers.
    """
    files = listed_files(fname) if batch_launch else [fname]
    submissions = [
        Submission(str(file), file, (), _config(file, settings.num_processes)) for file in files
    ]
    return submit_all(submissions, settings, logs, dry_run)


def listed_files(listing: Path) -> list[Path]:
    """The config files in a YAML list, or one per line (`#` begins a comment).

    A path that does not exist from here is looked for beside the list.
    """
    if not listing.is_file():
        raise ValueError(f"there is no list of configs {listing}: give --fname a file of paths")
    text = listing.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    if isinstance(content, str):
        content = [line.partition("#")[0].strip() for line in text.splitlines()]
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise ValueError(
            f"{listing} must list config files, one per line, with --batch-launch; to train with "
            "one config file leave --batch-launch out"
        )
    files = [Path(name) for name in content if name]
    if not files:
        raise ValueError(f"{listing} lists no config files: write one path per line")
    return [file if file.exists() else listing.parent / file for file in files]


def _config(file: Path, num_processes: int) -> RunConfig:
    """The run that a file describes on so many processes."""
    content = read_yaml(file)
    with naming(file):
        if is_reference(content):
            return from_reference(content, num_processes)
        return check(RunConfig, content)
