"""`main_distributed.py`: reference files to a cluster, one job each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from jepakit.launch.slurm import Request, submit, training_command
from jepakit.runs.config import RunConfig
from jepakit.runs.reference_yaml import from_reference, is_reference
from jepakit.runs.yaml_file import check, read_yaml


def submit_training(
    fname: Path, request: Request, batch_launch: bool = False, cluster: str = "slurm"
) -> int:
    """Submit the training that a file describes, or with `batch_launch` those that it lists.

    Every file is checked before anything is submitted. Prints the jobs' numbers.
    """
    files = listed_files(fname) if batch_launch else [fname]
    workers = [_num_workers(file, request.num_processes) for file in files]
    if request.cpus_per_task is None and None not in workers:
        most = max(number for number in workers if number is not None)
        request = replace(request, cpus_per_task=max(1, most))
    jobs = submit([training_command(file) for file in files], request, cluster)
    for file, job in zip(files, jobs, strict=True):
        print(f"{file}: job {job.job_id}, logs in {request.folder / f'job_{job.job_id}'}")
    return 0


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


def _num_workers(file: Path, num_processes: int) -> int | None:
    """Checks a config file; returns how many loader processes a task runs, if it says so."""
    content = read_yaml(file)
    if is_reference(content):
        config = from_reference(content, num_processes)
    else:
        config = check(RunConfig, content)
    number = config.data.num_workers
    return number if isinstance(number, int) else None
