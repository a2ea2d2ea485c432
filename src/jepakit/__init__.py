"""Train, test and look into joint-embedding predictive models on your own pictures."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jepakit.version import __version__

if TYPE_CHECKING:
    from jepakit.api import Model, Prediction, evaluate, load, pretrain

__all__ = [
    "Model",
    "Prediction",
    "__version__",
    "evaluate",
    "load",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    """The verbs bring torch along, which takes seconds: imported when they are asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("jepakit.api"), name)
