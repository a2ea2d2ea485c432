"""Train on a SLURM cluster, as the reference; needs `pip install 'jepakit[slurm]'`."""

import argparse
import sys
from pathlib import Path

from jepakit.commands.reference import submit_training
from jepakit.launch.slurm import Request


def main() -> int:
    """Submit one job, or with `--batch-launch` one per listed file."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--fname", type=Path, required=True, help="YAML file; with --batch-launch a list of them")
    add("--folder", type=Path, required=True, help="logs go to FOLDER/job_<number>")
    add("--batch-launch", action="store_true", help="--fname lists config files, one job each")
    add("--partition", help="partition of the cluster")
    add("--nodes", type=int, default=1, help="machines (default: 1)")
    add("--tasks-per-node", type=int, default=1, help="processes and GPUs per machine (default: 1)")
    add("--time", type=int, default=4300, help="minutes (default: 4300)")
    add("--cpus-per-task", type=int, help="CPU cores per process (default: data.num_workers)")
    add("--device", choices=["cuda", "cpu"], default="cuda", help="train on GPUs or CPUs")
    a = parser.parse_args()
    request = Request(
        folder=a.folder.resolve(),
        partition=a.partition,
        nodes=a.nodes,
        tasks_per_node=a.tasks_per_node,
        minutes=a.time,
        cpus_per_task=a.cpus_per_task,
        device=a.device,
    )
    return submit_training(a.fname, request, a.batch_launch)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"jepa: {error}")
