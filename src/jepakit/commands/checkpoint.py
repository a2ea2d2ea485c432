"""`jepa checkpoint merge`: one file from a checkpoint that may lie in parts."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from jepakit.core.checkpoint import CheckpointFolder, CheckpointSettings, read_state
from jepakit.core.files import told_if_full, written_whole
from jepakit.core.state import State
from jepakit.runs.folder import RunFolder

SUFFIX = ".safetensors"


def merge(source: Path, out: Path, networks_only: bool) -> int:
    """Write all tensors of a checkpoint (a run's newest one) into one safetensors file.

    Names are `objective/…`, `optimizer/…` and `random/…`; the facts are in the header, as JSON
    under `facts`. `ValueError` if there is no checkpoint, or something in the way.
    """
    if out.suffix != SUFFIX:
        raise ValueError(f"{out} must end in {SUFFIX}: that is what will be in it")
    if out.exists():
        raise ValueError(f"{out} exists already: remove it or choose another name")
    state = _open(source)
    names = [n for n in state.tensors if not networks_only or n.startswith("objective/")]
    tensors = {name: state.tensors[name].contiguous() for name in names}
    with told_if_full(out.parent), written_whole(out) as beside:
        try:
            save_file(tensors, beside, {"facts": json.dumps(state.facts)})
        except SafetensorError as error:  # how it tells that the disk is full
            raise OSError(f"{out} cannot be written: {error}") from error
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    print(f"{out}: step {state.step}, {len(tensors)} tensors, {size / 1e6:.1f} MB")
    return 0


def _open(source: Path) -> State:
    """A `step-…` folder, or the newest whole one of a run."""
    if source.name.startswith("step-"):
        return read_state(source)
    folder = RunFolder(source)
    state = CheckpointFolder(folder.checkpoints, CheckpointSettings()).load_newest()
    if state is None:
        raise ValueError(
            f"{source} holds no checkpoint: give a run folder that `jepa pretrain` wrote, or one "
            "of its checkpoints/step-… folders"
        )
    return state
