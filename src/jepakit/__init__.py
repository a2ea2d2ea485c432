"""Train, test and look into joint-embedding predictive models on your own pictures."""

from typing import Any

from jepakit.version import __version__

__all__ = ["__version__", "evaluate"]


def __getattr__(name: str) -> Any:
    """`evaluate` brings torch along, which takes seconds: imported when it is asked for."""
    if name != "evaluate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jepakit.api import evaluate

    return evaluate
