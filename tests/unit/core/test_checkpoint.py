"""Checkpoints are whole or absent, checked when read, and free of pickled code."""

from __future__ import annotations

import errno
import json
import os
import pickle
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from jepakit.core import checkpoint
from jepakit.core.checkpoint import (
    FACTS,
    TENSORS,
    CheckpointFolder,
    CheckpointSettings,
    DamagedCheckpoint,
    read_state,
)
from jepakit.core.state import State, capture, restore, restore_networks


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))


def trained(width: int = 3) -> tuple[nn.Module, torch.optim.Optimizer]:
    objective = network(width)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=0.1)
    for _ in range(2):
        objective(torch.randn(4, 2)).sum().backward()
        optimizer.step()
    return objective, optimizer


def state(step: int) -> State:
    return State({"objective/weight": torch.full((3,), float(step))}, {"step": step})


def checkpoints(path: Path, **settings: int) -> CheckpointFolder:
    return CheckpointFolder(path / "checkpoints", CheckpointSettings(**settings))


def test_a_state_put_back_goes_on_exactly_as_the_one_captured(tmp_path: Path) -> None:
    objective, optimizer = trained()
    folder = checkpoints(tmp_path)
    folder.save(capture(objective, optimizer, step=2, classes=["cat"]))
    random = torch.rand(3)
    inputs = torch.randn(4, 2)

    def go_on(objective: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
        optimizer.zero_grad()
        objective(inputs).sum().backward()
        optimizer.step()
        return [p.detach().clone() for p in objective.parameters()]

    expected = go_on(objective, optimizer)
    other, other_optimizer = trained()
    found = folder.load_newest()
    assert found is not None
    restore(found, other, other_optimizer)
    assert found.step == 2
    assert found.facts["classes"] == ["cat"]
    assert torch.equal(torch.rand(3), random)
    for mine, wanted in zip(go_on(other, other_optimizer), expected, strict=True):
        assert torch.equal(mine, wanted)


def test_a_missing_network_is_named() -> None:
    state = State({"objective/context_encoder.weight": torch.zeros(1)}, {"step": 1})
    objective = nn.ModuleDict({"context_encoder": nn.Linear(1, 1), "predictor": nn.Linear(1, 1)})
    with pytest.raises(ValueError, match=r"has no predictor, only context_encoder: give one"):
        restore_networks(state, objective)


def test_another_architecture_is_refused_with_its_differences() -> None:
    saved = capture(*trained(3), step=1)
    with pytest.raises(ValueError, match="another architecture") as error:
        restore(saved, *trained(4))
    assert "0.weight: this run (4, 2), checkpoint (3, 2)" in str(error.value)
    assert "1.weight: this run (1, 4), checkpoint (1, 3)" in str(error.value)
    assert "1.bias" not in str(error.value)


def test_a_checkpoint_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints(tmp_path)
    seen: list[set[str]] = []
    replace = os.replace

    def looked_at(source: Path, target: Path) -> None:
        assert not Path(target).exists()
        seen.append({path.name for path in Path(source).iterdir()})
        replace(source, target)

    monkeypatch.setattr(os, "replace", looked_at)
    folder.save(state(1))
    assert seen == [{TENSORS, FACTS}]
    assert [path.name for path in folder.path.iterdir()] == ["step-00000001"]


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path)
    left = folder.path / ".step-00000001.123.part"
    left.mkdir(parents=True)
    (left / TENSORS).write_bytes(b"half")
    assert folder.load_newest() is None
    folder.save(state(2))
    assert not left.exists()


@pytest.mark.parametrize("file", [TENSORS, FACTS])
@pytest.mark.parametrize("harm", ["cut", "bit", "gone", "empty"])
def test_a_damaged_newest_is_named_and_the_one_before_is_taken(
    tmp_path: Path, file: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = checkpoints(tmp_path)
    folder.save(state(1))
    path = folder.save(state(2)) / file
    content = bytearray(path.read_bytes())
    if harm == "bit":
        content[len(content) // 2] ^= 4
    path.write_bytes({"cut": content[:-9], "empty": b""}.get(harm, content))
    if harm == "gone":
        path.unlink()
    again = checkpoints(tmp_path)
    found = again.load_newest()
    assert found is not None
    assert found.step == 1
    assert "step-00000002 is damaged" in caplog.text
    assert "taking the one before" in caplog.text

    again.save(state(2))  # the damaged one is not in the way, and is not lost either
    assert read_state(again.at(2)).step == 2
    assert (again.path / "damaged-step-00000002").is_dir()


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path)
    facts = folder.save(state(1)) / FACTS
    content = facts.read_bytes()
    for place in range(len(content)):
        changed = bytes([content[place] ^ 1])
        if content[place : place + 1].isspace() and changed.isspace():
            continue
        facts.write_bytes(content[:place] + changed + content[place + 1 :])
        with pytest.raises(DamagedCheckpoint, match="step-00000001 is damaged"):
            read_state(folder.at(1))


def test_when_all_are_damaged_it_is_an_error(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path)
    for step in (1, 2):
        (folder.save(state(step)) / TENSORS).write_bytes(b"")
    with pytest.raises(DamagedCheckpoint, match=r"no checkpoint in .* can be read.*folder=NEW"):
        checkpoints(tmp_path).load_newest()


def test_the_last_and_those_for_good_are_kept(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path, keep_last=2)
    for step in range(1, 8):
        folder.save(state(step), for_good=step % 3 == 0)
    assert folder.steps() == [3, 6, 7]


def test_a_damaged_one_does_not_count_as_kept(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path, keep_last=2)
    for step in (1, 9):
        folder.save(state(step))
    (folder.at(9) / FACTS).write_bytes(b"{")
    again = checkpoints(tmp_path, keep_last=2)
    again.load_newest()
    for step in (2, 3):
        again.save(state(step))
    assert again.steps() == [2, 3]


def test_other_names_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path, keep_last=1)
    other = folder.path / "step-00000007 (copy)"
    other.mkdir(parents=True)
    for step in (1, 2):
        folder.save(state(step))
    assert folder.steps() == [2]
    assert other.exists()


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("No space left on device")],
)
def test_a_full_disk_leaves_the_old_one_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    folder = checkpoints(tmp_path, keep_last=1)
    folder.save(state(1))

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        folder.save(state(2))
    assert [path.name for path in folder.path.iterdir()] == ["step-00000001"]
    monkeypatch.undo()
    assert read_state(folder.at(1)).step == 1
    folder.save(state(2))
    assert folder.steps() == [2]


class Bomb:
    """Unpickling it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("as_torch_file", [True, False])
def test_pickled_code_is_never_executed(tmp_path: Path, as_torch_file: bool) -> None:
    folder, exploded = checkpoints(tmp_path), tmp_path / "exploded"
    path = folder.save(state(1)) / TENSORS
    if as_torch_file:
        torch.save(Bomb(exploded), path)
    else:
        path.write_bytes(pickle.dumps(Bomb(exploded)))
    facts = json.loads((path.parent / FACTS).read_text())
    facts["sha256"] = sha256(path.read_bytes()).hexdigest()  # as a malicious person would
    (path.parent / FACTS).write_text(json.dumps(facts))
    with pytest.raises(DamagedCheckpoint):
        read_state(folder.at(1))
    assert not exploded.exists()
    if not as_torch_file:
        pickle.loads(path.read_bytes())
        assert exploded.exists()  # it is a bomb
