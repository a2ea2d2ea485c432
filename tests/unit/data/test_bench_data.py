"""`jepa bench data` measures pipelines that do the same work, and says so."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jepakit.commands.bench_data import bench_data
from jepakit.commands.loading_pipelines import (
    Some,
    our_stream,
    thread_stream,
    usual_loader,
    write_files,
)
from jepakit.data.sources import Source, build_source, guess_source
from jepakit.data.views import RandomView

VIEW = RandomView.Settings(size=24)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    random = np.random.default_rng(0)
    for number in range(9):
        pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.jpg")
    (tmp_path / "pictures" / "torn.jpg").write_bytes(b"no picture")
    return tmp_path / "pictures"


def some(folder: Path) -> Some:
    source: Source = build_source(guess_source(folder))
    return Some(source, range(len(source)))


def test_pictures_that_cannot_be_read_are_left_out(folder: Path) -> None:
    assert [some(folder).name(index) for index in range(9)] == [f"{n}.jpg" for n in range(9)]
    assert len(some(folder)) == 9


def test_threads_give_the_batches_of_processes(folder: Path) -> None:
    with our_stream(some(folder), VIEW, 4, 1) as processes:
        expected = [batch for (batch,) in islice(processes, 5)]
    with thread_stream(some(folder), VIEW, 4, 2) as threads:
        found = [loaded.batch for loaded in islice(threads, 5)]
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.views, other.views)
        assert torch.equal(one.indices, other.indices)


def test_the_usual_pipeline_reads_the_same_files(folder: Path, tmp_path: Path) -> None:
    assert write_files(some(folder), tmp_path / "files")
    written = sorted((tmp_path / "files").rglob("*.jpg"))
    assert [file.read_bytes() for file in written] == [
        (folder / f"{number}.jpg").read_bytes() for number in range(9)
    ]
    views, _ = next(iter(usual_loader(tmp_path / "files", VIEW, 4, 0)))
    assert views.shape == (4, 3, 24, 24)
    assert views.dtype == torch.float32


def test_the_report_names_every_pipeline_and_stage(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_data(str(folder), 24, 8, 1, 1, tmp_path / "speeds.json") == 0
    speeds = json.loads((tmp_path / "speeds.json").read_text())["images_per_second"]
    assert speeds["one core"].keys() == {
        *("torchvision, files", "files", "packed", "packed raw", "decoded")
    }
    assert all(speed > 0 for found in speeds["1 workers"].values() for speed in found)
    told = capsys.readouterr().out
    for word in ("torchvision, files", "decoded", "threads", "decode", "collate", "one core"):
        assert word in told
