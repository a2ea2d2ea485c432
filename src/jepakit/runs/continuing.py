"""May this command go on with what its folder holds: the same settings, the same pictures?"""

from __future__ import annotations

from typing import Any

from jepakit.core.checkpoint import CheckpointFolder, read_facts
from jepakit.data.sources import Source
from jepakit.runs.config import FREE_TO_CONTINUE, RunConfig, differences
from jepakit.runs.folder import RunFolder
from jepakit.runs.yaml_file import check, read_yaml


def settings_before(folder: RunFolder) -> RunConfig | None:
    """What the folder's config says; None without one, `ValueError` if it cannot be read."""
    if not folder.config.exists():
        return None
    try:
        return check(RunConfig, read_yaml(folder.config))
    except ValueError as error:
        raise ValueError(
            f"{folder.config}, written when the run began, cannot be read ({error}): correct it, "
            "or choose another folder=NEW"
        ) from None


def check_settings(config: RunConfig) -> RunConfig | None:
    """What the folder's config says; `ValueError` if a run learned there with other settings.

    A folder without a checkpoint holds no run yet, whatever its config says.
    """
    folder = RunFolder(config.folder)
    before = settings_before(folder)
    if before is None or not folder.holds_checkpoints():
        return before
    if changed := differences(before, config, FREE_TO_CONTINUE):
        raise ValueError(
            f"{config.folder} holds a run with other settings ({'; '.join(changed)}): choose "
            "another folder=NEW, or restore these (all others are as before) to continue it"
        )
    return before


def check_pictures_before(config: RunConfig, source: Source) -> None:
    """`ValueError` if the folder's newest checkpoint learned from other pictures."""
    checkpoints = CheckpointFolder(RunFolder(config.folder).checkpoints, config.checkpoint)
    if steps := checkpoints.steps():
        check_data(config, read_facts(checkpoints.at(steps[-1])), source)


def check_data(config: RunConfig, facts: dict[str, Any] | None, source: Source) -> None:
    """Refuse to go on with other pictures than the run began with, unless that is wanted.

    `facts` are those of its checkpoint; None at the beginning.
    """
    if facts is None or config.data.allow_changed or facts["data"] == source.fingerprint():
        return
    raise ValueError(
        f"the pictures changed since the run in {config.folder} began (now {len(source)}; it is at "
        f"step {facts['step']}): restore them, begin anew in another folder (folder=NEW), or go on "
        "with these: data.allow_changed=true"
    )
