"""What happens to a run of several processes when one of them is killed, hangs, or never comes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from jepakit.commands.checkpoint import merge
from jepakit.core.checkpoint import read_state
from jepakit.data.packing import Packing
from jepakit.data.sources.procedural_scenes import ProceduralScenes

Jepa = Callable[..., Any]
Start = Callable[..., list[Any]]
NUM_STEPS = 12
SHORT = ("optimization.epochs=2", "monitors.collapse.every=0", "monitors.online_probe.every=0")


def last_step(run: Path) -> int:
    path = run / "metrics.csv"
    lines = path.read_text().splitlines()[1:] if path.exists() else []
    return max((int(line.split(",")[0]) for line in lines if line.count(",") == 3), default=0)


def losses(run: Path) -> dict[int, float]:
    with (run / "metrics.csv").open(newline="") as file:
        return {
            int(r["step"]): float(r["value"]) for r in csv.DictReader(file) if r["name"] == "loss"
        }


def wait_for_step(run: Path, step: int, processes: Sequence[Any]) -> None:
    deadline = time.monotonic() + 120
    while last_step(run) < step:
        assert all(p.is_running() for p in processes), processes[0].said + processes[-1].said
        assert time.monotonic() < deadline
        time.sleep(0.002)


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture
def start(jepa: Jepa, tiny: Path) -> Iterator[Start]:
    """`start(2, "seed=1")` starts processes of one run as a cluster does: each with its rank."""
    started: list[Any] = []

    def begin(
        size: int, *words: str, ranks: Sequence[int] | None = None, own: Sequence[str] = ()
    ) -> list[Any]:
        port = free_port()
        here = range(size) if ranks is None else ranks
        processes = []
        for rank in here:
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
            environment = {name: str(value) for name, value in place.items()}
            environment["MASTER_ADDR"] = "127.0.0.1"
            mine = [own[rank]] if own else []
            common = ["data.num_workers=0", "devices=[cpu]", *words, *mine]
            command = jepa(
                "pretrain", tiny.name, *common, folder=tiny.parent, environment=environment
            )
            processes.append(command)
        started.extend(processes)
        return processes

    yield begin
    for process in started:
        if process.is_running():
            process.send(signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_a_killed_process_ends_the_run_and_the_same_command_continues(
    mode: str, start: Start, tiny: Path
) -> None:
    run = tiny.parent / "run"
    words = (f"parallel={mode}", *SHORT)
    first, second = start(2, *words)
    wait_for_step(run, 7, (first, second))
    second.kill()
    assert first.wait() == 3, first.said
    assert "process 0 on" in first.errors
    assert "lost another process" in first.errors
    assert "Traceback" not in first.said
    processes = start(2, *words)
    assert [p.wait() for p in processes] == [0, 0], processes[0].said
    assert "continuing at step" in processes[0].said
    assert sorted(losses(run)) == list(range(1, NUM_STEPS + 1))


def test_a_stopped_process_is_named_and_the_run_ends(start: Start, tiny: Path) -> None:
    run = tiny.parent / "run"
    first, second = start(2, "processes.hang_seconds=2")
    wait_for_step(run, 5, (first, second))
    second.send(signal.SIGSTOP)  # a process that no longer does anything, not even end
    assert first.wait() == 3, first.said
    assert f"process 1 on {socket.gethostname()} hangs at step" in first.errors
    assert "process 0 on" not in first.errors.split("processes.hang_seconds", 1)[1]


def test_the_first_process_is_named_too(start: Start, tiny: Path) -> None:
    first, second = start(2, "processes.hang_seconds=2")
    wait_for_step(tiny.parent / "run", 5, (first, second))
    first.send(signal.SIGSTOP)
    assert second.wait() == 3, second.said
    assert "process 0 does not answer" in second.errors


def pictures(folder: Path, count: int = 64) -> list[Path]:
    folder.mkdir()
    random = torch.Generator().manual_seed(0)
    paths = [folder / f"{number:03d}.png" for number in range(count)]
    for path in paths:
        pixels = torch.randint(0, 256, (32, 32, 3), generator=random, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
    return paths


def test_a_process_that_hangs_in_a_picture_shows_where_it_is(start: Start, tiny: Path) -> None:
    paths = pictures(tiny.parent / "pictures")
    source = f"data.source={{kind: folder, path: {tiny.parent / 'pictures'}}}"
    first, second = start(2, source, "processes.hang_seconds=2", "optimization.epochs=500")
    wait_for_step(tiny.parent / "run", 5, (first, second))
    paths[0].unlink()
    os.mkfifo(paths[0])  # opening it waits for ever, as a file of a server that went away
    codes = [first.wait(), second.wait()]
    assert codes == [3, 3]
    blamed = [p for p in (first, second) if "_readable" in p.errors]
    assert len(blamed) == 1
    rank = (first, second).index(blamed[0])
    for process in (first, second):
        assert f"process {rank} on {socket.gethostname()} hangs at step" in process.errors
        assert "loading pictures" in process.errors


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_never_comes_is_named(rank: int, start: Start) -> None:
    begin = time.monotonic()
    (alone,) = start(2, "processes.join_seconds=2", ranks=[rank])
    assert alone.wait() == 3, alone.said
    assert f"process {rank} of 2 on {socket.gethostname()}" in alone.errors
    told = "process 1. Look at" if rank == 0 else "did not reach process 0 at 127.0.0.1:"
    assert told in alone.errors
    assert "Traceback" not in alone.said
    assert time.monotonic() - begin < 60


def test_processes_that_do_not_agree_end_before_the_first_step(start: Start, tiny: Path) -> None:
    processes = start(2, own=("seed=1", "seed=2"))
    assert [p.wait() for p in processes] == [3, 3]
    for process in processes:
        assert "do not agree" in process.errors
        assert "seed: 1 for process 0 on" in process.errors
        assert "2 for process 1 on" in process.errors
    assert last_step(tiny.parent / "run") == 0


def test_broken_pictures_are_counted_over_all_processes(start: Start, tiny: Path) -> None:
    paths = pictures(tiny.parent / "pictures")
    for path in paths[::8]:
        path.write_bytes(b"no picture")
    source = f"data.source={{kind: folder, path: {tiny.parent / 'pictures'}}}"
    # Each process meets half of the eight: neither would stop alone.
    words = (source, "data.max_broken_share=0.1", "optimization.epochs=4", "batch.device=2")
    processes = start(2, *words)
    assert [p.wait() for p in processes] == [2, 2], processes[0].said
    for process in processes:
        assert "of 64 pictures cannot be read" in process.errors
    listed = (tiny.parent / "run/broken_pictures.csv").read_text().splitlines()
    assert len(listed) == len(set(listed))
    assert len(listed) - 1 >= 7


@pytest.mark.parametrize("what", ["gone", "cut"])
def test_a_shard_that_goes_away_in_the_middle_of_an_epoch(
    what: str, start: Start, tiny: Path, tmp_path: Path
) -> None:
    run = tiny.parent / "run"
    scenes = ProceduralScenes(ProceduralScenes.Settings(num_pictures=100, size=32))
    settings = Packing.Settings(format="raw", shard_bytes=60_000)
    Packing(settings, {"all": scenes}, tmp_path / "packed").run(lambda *_: None)
    source = f"data.source={{kind: shards, path: {tmp_path / 'packed/index.json'}, window: 1}}"
    words = (source, "optimization.epochs=400", "checkpoint.every_steps=null")
    processes = start(2, *words)
    wait_for_step(run, 5, processes)
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "packed", kept)
    for shard in (tmp_path / "packed").rglob("*.tar"):
        if what == "gone":
            shard.unlink()
        else:
            os.truncate(shard, 2000)
    codes = [p.wait() for p in processes]
    assert all(code in (2, 3) for code in codes), processes[0].said
    assert not any("Traceback" in p.said for p in processes)
    saved = sorted((run / "checkpoints").glob("step-*"))
    assert read_state(saved[-1]).step >= last_step(run) >= 5
    shutil.rmtree(tmp_path / "packed")
    shutil.copytree(kept, tmp_path / "packed")
    again = start(2, *words)
    wait_for_step(run, last_step(run) + 2, again)
    assert f"continuing at step {int(saved[-1].name[5:])}" in again[0].said


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_part_of_a_checkpoint_is_seen_by_all(
    damage: str, spread: Path, start: Start, tiny: Path
) -> None:
    run = shutil.copytree(spread, tiny.parent / "run")
    newest = run / f"checkpoints/step-{NUM_STEPS:08d}"
    part = sorted(newest.glob("shard-*"))[1]
    content = bytearray(part.read_bytes())
    if damage == "gone":
        part.unlink()
    else:
        content[-8] ^= 1
        part.write_bytes(content if damage == "flipped" else content[:-100])
    processes = start(2, "parallel=fsdp", *SHORT)
    assert [p.wait() for p in processes] == [0, 0], processes[0].said
    assert f"step-{NUM_STEPS:08d} is damaged" in processes[0].said
    assert f"continuing at step {NUM_STEPS - 1}" in processes[0].said
    expected, found = (
        read_state(r / f"checkpoints/step-{NUM_STEPS:08d}").tensors for r in (spread, run)
    )
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.fixture(scope="module")
def spread(jepa: Jepa, tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Path:
    """A finished run of networks that were spread over two processes."""
    folder = tmp_path_factory.mktemp("spread")
    (folder / "tiny.yaml").write_text(tiny_text)
    own = ("parallel=fsdp", "checkpoint.every_steps=1", "data.num_workers=0", "devices=[cpu]")
    port = free_port()
    processes = [
        jepa(
            *("pretrain", "tiny.yaml", *own, *SHORT),
            folder=folder,
            environment={
                **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            },
        )
        for rank in range(2)
    ]
    assert [p.wait() for p in processes] == [0, 0], processes[0].said
    return folder / "run"


def test_parts_become_one_file(spread: Path, tmp_path: Path) -> None:
    out = tmp_path / "whole.safetensors"
    assert merge(spread, out, networks_only=False) == 0
    expected = read_state(spread / f"checkpoints/step-{NUM_STEPS:08d}")
    found = load_file(out)
    assert found.keys() == expected.tensors.keys()
    assert all(torch.equal(value, expected.tensors[name]) for name, value in found.items())
    with safe_open(out, "pt") as file:
        assert json.loads(file.metadata()["facts"]) == expected.facts
    with pytest.raises(ValueError, match="exists already"):
        merge(spread, out, networks_only=True)
    assert merge(spread, tmp_path / "networks.safetensors", networks_only=True) == 0
    assert set(load_file(tmp_path / "networks.safetensors")) == {
        name for name in found if name.startswith("objective/")
    }
    with pytest.raises(ValueError, match="holds no checkpoint"):
        merge(tmp_path, tmp_path / "other.safetensors", networks_only=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filler


@pytest.mark.parametrize(("size", "mode"), [(1, "ddp"), (2, "fsdp")])
def test_a_full_disk_leaves_the_old_checkpoint_and_the_run_goes_on(
    size: int, mode: str, start: Start, small_disk: Path
) -> None:
    run = small_disk / "run"
    words = (f"folder={run}", f"parallel={mode}", "optimization.epochs=100", "logging.every=1")
    processes = start(size, *words, "monitors.collapse.every=0", "monitors.online_probe.every=0")
    wait_for_step(run, 7, processes)
    filler = fill(small_disk)
    deadline = time.monotonic() + 60
    while "could not be saved" not in processes[0].said:
        assert all(p.is_running() for p in processes), processes[0].said
        assert time.monotonic() < deadline
        time.sleep(0.01)
    whole = sorted((run / "checkpoints").glob("step-*"))
    assert whole
    for path in whole:
        read_state(path)
    filler.unlink()
    saved = {path.name for path in whole}
    while {path.name for path in (run / "checkpoints").glob("step-*")} <= saved:
        assert all(p.is_running() for p in processes), processes[0].said
        assert time.monotonic() < deadline + 60
        time.sleep(0.01)
    for process in processes:
        process.send(signal.SIGTERM)
    assert [p.wait() for p in processes] == [143] * size, processes[0].said
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    assert read_state(newest).step == last_step(run)
    assert not list((run / "checkpoints").glob(".*"))


def test_a_killed_launcher_leaves_no_process_behind(jepa: Jepa, tiny: Path) -> None:
    command = jepa(
        *("pretrain", tiny.name, "--devices", "cpu", "cpu", "optimization.epochs=1000"),
        folder=tiny.parent,
    )
    wait_for_step(tiny.parent / "run", 3, (command,))
    family = psutil.Process(command.pid).children(recursive=True)
    assert len(family) >= 2
    command.kill(with_workers=False)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    saved = sorted((tiny.parent / "run/checkpoints").glob("step-*"))
    assert read_state(saved[-1]).step == last_step(tiny.parent / "run")


@pytest.mark.slow
def test_torchrun_starts_a_killed_process_again(tiny: Path) -> None:
    run = tiny.parent / "run"
    torchrun = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
            *("--max-restarts=1", f"--master-port={free_port()}"),
            *("-m", "jepakit", "pretrain", tiny.name),
            *("devices=[cpu]", "data.num_workers=0", "optimization.epochs=30"),
        ],
        cwd=tiny.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while last_step(run) < 7:
        assert torchrun.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ranks = [p for p in psutil.Process(torchrun.pid).children() if "pretrain" in p.cmdline()]
    assert len(ranks) == 2
    ranks[1].send_signal(signal.SIGKILL)
    _, said = torchrun.communicate(timeout=240)
    assert torchrun.returncode == 0, said
    assert "continuing at step" in said
    assert sorted(losses(run)) == list(range(1, 181))


@pytest.mark.parametrize(
    "locale",
    ["C", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tr_TR.UTF-8", "POSIX"))],
)
def test_odd_locales_change_nothing(locale: str, tiny: Path) -> None:
    # A folder whose name has letters that these locales do not know, and fresh interpreters.
    folder = tiny.parent / "Läufe-İı"
    words = [f"folder={folder}", "optimization.epochs=1", "optimization.warmup_epochs=0"]
    odd = {"LC_ALL": locale, "LANG": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "jepakit", "pretrain", tiny.name, *words],
        cwd=tiny.parent,
        env={**os.environ, **odd},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert read_state(folder / "checkpoints/step-00000006").step == 6
    assert json.loads((folder / "checkpoints/step-00000006/facts.json").read_bytes())
