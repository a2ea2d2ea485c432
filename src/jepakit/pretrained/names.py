"""Names of models as people type them. Light: refuses a name before anything heavy is imported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jepakit.pretrained.hub import HUB, is_hub_name

TIMM, META = "timm:", "meta:"
LOCAL = "local-dir:"  # timm's own word for a folder
KINDS = "a run folder, a checkpoint, hf:ORG/NAME or timm:MODEL"


def names_and_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of models, and settings (`a.b=value`) unless there is a file of that name."""
    settings = [w for w in words if re.match(r"[a-z_.0-9]+=", w) and not Path(w).exists()]
    return [w for w in words if w not in settings], settings


def bare_path(name: str) -> Path:
    """The path in a name that stands for something on this disk."""
    if name.startswith(TIMM):
        name = name.removeprefix(TIMM).removeprefix(LOCAL)
    return Path(name.removeprefix(META)).expanduser()


def nothing_there(name: str) -> str:
    """The sentence about a name that stands for nothing."""
    path = bare_path(name)
    if is_hub_name(name) and not path.parent.exists():
        return f"there is no {path}: give {KINDS} (did you mean hf:{name}?)"
    return f"there is no {path}: give {KINDS}"


def refuse_what_is_not_there(name: str) -> str:
    """The name, unless it is a path to nothing: `ValueError`. What it holds is not looked at."""
    path = bare_path(name)
    opened_elsewhere = name.startswith((HUB, TIMM)) or "@" in name  # fetched, or described by it
    of_a_run = "checkpoints" in path.parts[-3:-1]  # which knows what else it holds
    if name and not opened_elsewhere and not of_a_run and not path.exists():
        raise ValueError(nothing_there(name))
    return name
