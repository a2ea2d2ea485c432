"""Where pictures are kept: what was asked for, or the fastest place that has room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from jepakit.core.tensors import MaskIndices
from jepakit.data.loader import TrainingStream
from jepakit.data.resident import ResidentStream
from jepakit.data.sources.decoded import DecodedSource
from jepakit.runs import keeping
from jepakit.runs.config import RunConfig
from jepakit.runs.keeping import choose_place, open_source, open_stream
from jepakit.runs.yaml_file import check

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PIXELS = 40 * 30 * 40 * 3  # of all pictures together


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pictures").mkdir()
    random = np.random.default_rng(0)
    for number in range(40):
        pixels = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path / "pictures"


def config(pictures: Path, **data: Any) -> RunConfig:
    source = {"kind": "folder", "path": str(pictures), "index_cache": False}
    view = {"size": 16, **data.pop("view", {})}
    return check(
        RunConfig,
        {
            "data": {"source": source, "view": view, **data},
            "encoder": {"size": None, "width": 32, "depth": 1, "num_heads": 1, "patch": 8},
            "batch": {"size": 8},
        },
    )


def place(c: RunConfig, device: torch.device) -> str:
    return choose_place(keeping.build_source(c.data.source), c, device)


@pytest.mark.parametrize(
    ("asked", "found"), [(False, "files"), (True, "disk"), ("device", "device")]
)
def test_what_is_asked_for_is_done(pictures: Path, asked: bool | str, found: str) -> None:
    assert place(config(pictures, keep_decoded=asked), CPU) == found
    assert place(config(pictures, keep_decoded=asked), CUDA) == found


@pytest.mark.parametrize(("device", "roomy"), [(CPU, "disk"), (CUDA, "device")])
def test_the_fastest_place_with_room_is_found(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, device: torch.device, roomy: str
) -> None:
    c = config(pictures, keep_decoded="auto", keep_share=0.5)
    monkeypatch.setattr(keeping, "all_memory", lambda device: 2 * PIXELS)
    assert place(c, device) == roomy
    monkeypatch.setattr(keeping, "all_memory", lambda device: 2 * PIXELS - 2)
    assert place(c, device) == "files"


def test_views_that_are_recoloured_are_made_on_the_cpu(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "all_memory", lambda device: 10 * PIXELS)
    c = config(pictures, keep_decoded="auto", view={"jitter": 0.5})
    assert place(c, CUDA) == "disk"


def test_what_is_drawn_on_the_spot_is_not_kept_unasked() -> None:
    c = check(RunConfig, {"data": {"keep_decoded": "auto"}})
    assert place(c, CPU) == "files"


def draw_masks(batch_size: int, random: Any) -> MaskIndices:
    rows = torch.zeros((batch_size, 1, 2), dtype=torch.int64)
    return MaskIndices(rows, rows)


def stream(c: RunConfig) -> TrainingStream | ResidentStream:
    source = open_source(c.data.source, c, CPU)
    return open_stream(source, c, CPU, masking=draw_masks, seed=0, batch_size=8, total_steps=5)


def test_a_run_sees_the_same_wherever_its_pictures_are(pictures: Path) -> None:
    streams = [stream(config(pictures, keep_decoded=keep)) for keep in (False, True, "device")]
    assert [type(s) for s in streams] == [TrainingStream, TrainingStream, ResidentStream]
    for from_files, from_disk, on_device in zip(*streams, strict=True):
        assert torch.equal(from_files[0].views, from_disk[0].views)
        assert (from_files[0].views.int() - on_device[0].views.int()).abs().max() <= 1
        assert torch.equal(from_files[0].indices, on_device[0].indices)


def test_one_huge_picture_is_noticed_before_memory_is_taken(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    c = config(pictures, keep_decoded="auto", keep_share=0.5)
    source = DecodedSource(keeping.build_source(c.data.source), pictures.parent / "decoded")
    monkeypatch.setattr(keeping, "all_memory", lambda device: 2 * PIXELS)
    monkeypatch.setattr(keeping, "largest_size", lambda source: (31, 40))
    monkeypatch.setattr(keeping, "choose_place", lambda *arguments: "device")
    caplog.set_level("INFO", "jepakit")
    found = open_stream(source, c, CPU, masking=draw_masks, seed=0, batch_size=8, total_steps=1)
    assert isinstance(found, TrainingStream)
    assert "40 x 31" in caplog.text
    assert "keep_share" in caplog.text
