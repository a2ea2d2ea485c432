"""What was packed is read back: the same pictures, and the same batches in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch, MaskIndices
from jepakit.data.loader import TrainingStream
from jepakit.data.packing import Packing
from jepakit.data.sources.image_folder import ImageFolder
from jepakit.data.sources.source import Source
from jepakit.data.sources.table import Table
from jepakit.data.sources.tar_shards import TarShards
from jepakit.data.views import RandomView

NUM = 36


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """JPEG, PNG and WebP; names with dots, and of the same stem."""
    random = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    for number in range(NUM):
        place = folder / f"class-{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        suffix = (".JPEG", ".v2.png", ".webp", ".jpg")[number % 4]
        image = Image.fromarray(small).resize((50 + number, 60), Image.Resampling.BICUBIC)
        image.save(place / f"{number // 2 * 2:02}{suffix}")
    return folder


def packed(source: Source, out: Path, **settings: Any) -> TarShards:
    Packing(Packing.Settings(shard_bytes=30_000, **settings), {"all": source}, out).run(
        lambda done, total: None
    )
    assert len(list(out.glob("*.tar"))) > 2
    return TarShards(TarShards.Settings(path=str(out), index_cache=False))


def test_a_folder_comes_back(pictures: Path, tmp_path: Path) -> None:
    source = ImageFolder(ImageFolder.Settings(path=pictures, index_cache=False))
    shards = packed(source, tmp_path / "out")
    assert len(shards) == len(source) == NUM
    assert shards.classes == source.classes
    for index in range(NUM):
        assert shards.stored(index) == source.stored(index)
        before, after = source.sample(index), shards.sample(index)
        assert (before.name, before.label) == (after.name, after.label)
        np.testing.assert_array_equal(before.picture, after.picture)


def test_answers_come_back(pictures: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.*g"))
    rows = [f"{n},{number % 5},{number / 4},{number % 2}" for number, n in enumerate(names)]
    (pictures / "labels.csv").write_text("\n".join(["path,label,age,is_red", *rows]))
    table = Table(Table.Settings(path=pictures / "labels.csv"))
    shards = packed(table, tmp_path / "out")
    assert (shards.classes, dict(shards.tasks)) == (table.classes, dict(table.tasks))
    for index in range(len(table)):
        assert shards.name(index) == table.name(index)
        assert shards.labels(index) == table.labels(index)
        assert shards.label(index) == table.label(index)


def test_the_indices_are_those_that_are_built_without_them(pictures: Path, tmp_path: Path) -> None:
    source = ImageFolder(ImageFolder.Settings(path=pictures, index_cache=False))
    packed(source, tmp_path / "out", shorter_side=32)
    with_them = TarShards(TarShards.Settings(path=str(tmp_path / "out"), index_cache=False))
    for file in (tmp_path / "out").glob("*.npz"):
        file.unlink()
    without = TarShards(TarShards.Settings(path=str(tmp_path / "out"), index_cache=False))
    for index in range(NUM):
        assert with_them.stored(index) == without.stored(index)
        assert with_them.label(index) == without.label(index)


def no_masks(batch_size: int, random: BatchRandom) -> MaskIndices:
    return MaskIndices(*torch.zeros(2, batch_size, 1, 1, dtype=torch.long))


def batches(source: Source, num_workers: int) -> list[Batch]:
    view = RandomView(RandomView.Settings(size=24, flip=0.5))
    stream = TrainingStream(
        source, view, no_masks, seed=3, batch_size=12, num_workers=num_workers, total_steps=6
    )
    with stream:
        return [batch for step in stream for batch in step]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_sees_the_same_batches(pictures: Path, tmp_path: Path, num_workers: int) -> None:
    source = ImageFolder(ImageFolder.Settings(path=pictures, index_cache=False))
    shards = packed(source, tmp_path / "out")
    both = [batches(each, num_workers) for each in (source, shards)]
    assert len(both[0]) == 6
    for before, after in zip(*both, strict=True):
        assert torch.equal(before.views, after.views)
        assert torch.equal(before.labels, after.labels)
