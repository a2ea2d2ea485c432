"""Train, test and look into joint-embedding predictive models on your own pictures."""

from typing import Any

from jepakit.version import __version__

__all__ = ["__version__", "evaluate", "pretrain"]


def __getattr__(name: str) -> Any:
    """The verbs bring torch along, which takes seconds: imported when they are asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jepakit import api

    return getattr(api, name)
