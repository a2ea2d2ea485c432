"""Train, test and look into joint-embedding predictive models on your own pictures."""

from jepakit.version import __version__

__all__ = ["__version__"]
