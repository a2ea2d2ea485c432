"""Train on a SLURM cluster, as the reference; needs `pip install 'jepakit[slurm]'`."""

import argparse
import sys
from pathlib import Path

from jepakit.commands.reference import submit_training
from jepakit.commands.submission import settings_from

# Beside the reference's own options: settings of `jepa pretrain --slurm`, with dashes.
SETTINGS = (
    *("cpus-per-task", "memory", "memory-per-gpu", "gpus-per-node", "device", "constraint"),
    *("account", "qos", "exclude", "container", "setup"),
)


def main() -> int:
    """Submit one job, or with `--batch-launch` one per listed file."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--fname", type=Path, required=True, help="YAML file; with --batch-launch a list of them")
    add("--folder", type=Path, required=True, help="logs go to FOLDER/job_<number>")
    add("--batch-launch", action="store_true", help="--fname lists config files, one job each")
    add("--partition", help="partition of the cluster")
    add("--nodes", default="1", help="machines (default: 1)")
    add("--tasks-per-node", default="1", help="processes and GPUs per machine (default: 1)")
    add("--time", default="4300", help="minutes, or as SLURM writes times (default: 4300)")
    add("--dry-run", action="store_true", help="print the batch script, submit nothing")
    for name in SETTINGS:
        add(f"--{name}", help=f"as `{name.replace('-', '_')}` of jepa pretrain --slurm")
    add("--slurm", nargs="+", default=[], metavar="NAME=VALUE", help="its other settings")
    a = vars(parser.parse_args())
    own = ("fname", "folder", "batch_launch", "dry_run", "slurm")
    words = [f"{name}={value}" for name, value in a.items() if value and name not in own]
    settings, others = settings_from([*words, *a["slurm"]])
    if others:
        raise ValueError(
            f"{others[0]} belongs into the config file: --slurm takes SLURM's settings"
        )
    return submit_training(
        a["fname"], settings, a["folder"].absolute(), a["batch_launch"], a["dry_run"]
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        print(f"jepa: {error}", file=sys.stderr)
        sys.exit(2)
