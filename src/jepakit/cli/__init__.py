"""`jepa <verb>`: the only argument parsing of the package. Verbs import torch when they run."""

from jepakit.cli.entry import main, spread

__all__ = ["main", "spread"]
