"""`jepa pack`: killed and continued, stopped by Ctrl-C, refused, verified, and trained on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jepakit.cli import main

Jepa = Callable[..., Any]
SMALL = ("--shard-bytes", "40kB", "--format", "png", "--workers", "1")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures in two classes and two parts; packing them takes a second."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(240):
        place = folder / ("train" if number < 200 else "val") / f"class-{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(small).resize((160, 120)).save(place / f"{number:03}.jpg", quality=90)
    return folder


@pytest.fixture(scope="module")
def packed(jepa: Jepa, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    command = jepa("pack", pictures, "out", *SMALL, folder=folder)
    assert command.wait() == 0, command.said
    return folder / "out"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_packing_continues_to_the_same_bytes(
    jepa: Jepa, pictures: Path, packed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    words = ("pack", pictures, "out", *SMALL)
    command = jepa(*words, folder=tmp_path)
    while not (tmp_path / "out" / "train" / "shard-000002.npz").exists():
        assert command.is_running(), command.said
        time.sleep(0.002)
    if number == signal.SIGKILL:
        command.kill(with_workers=False)
    else:
        command.send(number)
        assert command.wait() == 128 + number
        assert "stopped; the same command goes on" in command.said
    assert not (tmp_path / "out" / "val" / "index.json").exists()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/train/shard-00000[01].*")}
    command = jepa(*words, folder=tmp_path)
    assert command.wait() == 0, command.said
    assert "train: 200 pictures" in command.output
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert contents(tmp_path / "out") == contents(packed)


def test_packed_already_and_verified(jepa: Jepa, pictures: Path, packed: Path) -> None:
    again = jepa("pack", pictures, "out", *SMALL, folder=packed.parent)
    verify = jepa("pack", "--verify", "out", folder=packed.parent)
    look = jepa("data", "inspect", "out", "--workers", "0", folder=packed.parent)
    assert (again.wait(), verify.wait()) == (0, 0), again.said + verify.said
    assert look.wait() == 0, look.said
    assert "200 train, 40 val" in look.output
    assert "240 PNG RGB" in look.output
    assert again.output.startswith("packed already, nothing to do")
    assert "every shard of out is as it was packed" in verify.output
    assert "val: 40 pictures" in again.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["out", "--format", "jpeg"], "them with format=png instead of jpeg: give another folder"),
        (["new", "--max-bytes", "lots"], "'lots' is not a size: write a number of bytes"),
        (["new", "--format", "gif"], "format='gif'"),
        (["new", "--quality", "80"], "only jpeg and webp have a quality: add --format jpeg"),
        (["new", "--values", "3"], "--values 3 is not LOW,HIGH"),
        (["new", "--split", "tests"], "no part 'tests'"),
        ([], "name the pictures and a folder for the shards: jepa pack PICTURES OUT"),
    ],
)
def test_a_mistake_is_one_sentence(
    pictures: Path,
    packed: Path,
    words: list[str],
    told: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(packed.parent)
    monkeypatch.delenv("JEPAKIT_TRACEBACK", raising=False)
    words = [*words, "--shard-bytes", "40kB"] if words[:1] == ["out"] else words
    with pytest.raises(SystemExit) as ended:
        main(["pack", str(pictures), *words])
    assert ended.value.code == 2
    assert told in capfd.readouterr().err
    assert not Path("new").exists()


def test_a_damaged_shard_is_named(jepa: Jepa, pictures: Path, tmp_path: Path) -> None:
    words = ("pack", pictures, "out", "--max-bytes", "500kB", "--split", "val", "--workers", "0")
    command = jepa(*words, folder=tmp_path)
    assert command.wait() == 0, command.said
    shard = tmp_path / "out" / "shard-000000.tar"
    content = bytearray(shard.read_bytes())
    content[2000] ^= 1
    shard.write_bytes(content)
    verify = jepa("pack", "--verify", "out", folder=tmp_path)
    assert verify.wait() == 1
    assert verify.output.startswith("damaged: out/shard-000000.tar has other content")
