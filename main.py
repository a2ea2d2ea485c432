"""Train on this machine: `main.py --fname CONFIG --devices cuda:0 cuda:1`, as the reference."""

import argparse

from jepakit.cli import main as jepa


def main() -> None:
    """The same as `jepa pretrain CONFIG --devices ...`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fname", required=True, help="YAML file: the reference's or ours")
    parser.add_argument(
        "--devices",
        nargs="+",
        default=["cuda:0"],
        help="one process per device: cuda:0 cuda:1, or cpu, cpu cpu, mps (default: cuda:0)",
    )
    arguments = parser.parse_args()
    jepa(["pretrain", arguments.fname, "--devices", *arguments.devices])


if __name__ == "__main__":
    main()
