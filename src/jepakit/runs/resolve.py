"""From what was typed to a RunConfig: a file, words, pictures, or nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from jepakit.core.distributed import Place
from jepakit.data.sources import build_source, guess_source
from jepakit.runs.automatic import choose, held_out_part, written
from jepakit.runs.config import RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.frozen import with_frozen
from jepakit.runs.reference_yaml import from_reference, is_reference
from jepakit.runs.run_state import run_state
from jepakit.runs.yaml_file import apply_overrides, check, naming, read_yaml


def resolve(
    config: Path | None, overrides: Sequence[str], data: str | Path | None, devices: Sequence[str]
) -> tuple[RunConfig, Table | None]:
    """The run's configuration, and the reasons for what was chosen automatically.

    Without a config file, settings are chosen for the pictures in `data` and the device; words
    and devices given on the command line have the last word in every case.
    """
    reasons = None
    if config is None:
        given = {name: value for name, _, value in (word.partition("=") for word in overrides)}
        content, reasons = choose(data, devices, apply_overrides({}, overrides), given)
    else:
        content = read_yaml(config)
        if is_reference(content):
            if data is not None:  # takes the place of the file's own folders
                folder = Path(data)
                content["data"] |= {"root_path": str(folder.parent), "image_folder": folder.name}
            num_processes = max(1, len(devices), Place.from_environment().world_size)
            with naming(config):
                content = from_reference(content, num_processes).model_dump(mode="json")
        elif data is not None:
            content = {**content, "data": _with_pictures(content.get("data") or {}, data)}
    return _finish(content, overrides, devices), reasons


def resolve_training(
    config: Path | None, overrides: Sequence[str], data: str | Path | None, devices: Sequence[str]
) -> tuple[RunConfig, Table | Text | None]:
    """As `resolve`; but nothing is chosen anew for a run that has begun: it keeps its settings."""
    resolved, reasons = resolve(config, overrides, data, devices)
    folder = RunFolder(resolved.folder)
    if config is not None or not (folder.config.exists() and folder.holds_checkpoints()):
        return resolved, reasons
    content = read_yaml(folder.config)
    now = resolved.model_dump(mode="json")
    source, before = now["data"]["source"], content["data"]["source"]
    if source["kind"] == before["kind"] and "path" in source:
        source = {**before, "path": source["path"]}
    content["data"] |= {"source": source, "validation": now["data"]["validation"]}
    content |= {"folder": now["folder"], "devices": now["devices"]}
    begun = (
        "is finished, and its own settings hold"
        if run_state(folder.path).is_finished
        else "has begun, and it goes on with its own settings"
    )
    told = f"{now['folder']} holds a run that {begun}"
    if overrides:
        told += " and those you wrote"
    return _finish(content, overrides, devices), Text(f"{told}. To begin anew: folder=NEW")


def _finish(content: dict[str, Any], words: Sequence[str], devices: Sequence[str]) -> RunConfig:
    content = apply_overrides(content, words)
    if devices:
        content = {**content, "devices": list(devices)}
    return check(RunConfig, with_frozen(content))


def _with_pictures(content: Any, data: str | Path) -> Any:
    """The section `data` with other pictures, read as the old ones were if they are of a kind."""
    if not isinstance(content, dict):
        return content
    before = content.get("source")
    channels = before.get("channels", 3) if isinstance(before, dict) else 3
    settings = guess_source(data, channels)
    source, held_out = written(settings), held_out_part(data, build_source(settings))
    if isinstance(before, dict) and before.get("kind") == source["kind"]:
        kept = {**before, "split": None}
        return {**content, "source": kept | source, "validation": held_out and kept | held_out}
    return {**content, "source": source, "validation": held_out}
