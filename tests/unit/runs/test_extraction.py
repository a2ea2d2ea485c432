"""A dataset's features are made in parts, by any number of processes, and once."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from jepakit.core.errors import RunFailed
from jepakit.data.sources import Source, build_source, guess_source
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.source import BrokenPicture, Picture
from jepakit.evaluation import feature_bank
from jepakit.evaluation.features import Reading
from jepakit.runs import extraction
from jepakit.runs.extraction import Extraction
from jepakit.runs.feature_files import check_kind, table_of, write_table
from jepakit.runs.model import Model


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "FEWEST", 4)
    monkeypatch.setattr(extraction, "USUAL_NUMBER", 3)


class Watched(Source):
    """Counts what is opened of another source; stops or breaks where it is told to."""

    def __init__(self, source: Source, stop_at: int = -1, broken: tuple[int, ...] = ()) -> None:
        self.source, self.stop_at, self.broken, self.opened = source, stop_at, broken, 0
        self.num_channels, self.classes = source.num_channels, source.classes

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int) -> Any:
        return self.source.sample(index)

    def open(self, index: int) -> Picture:
        if index == self.stop_at:
            raise KeyboardInterrupt
        if index in self.broken:
            raise BrokenPicture(self.name(index), "cut")
        self.opened += 1
        return self.source.open(index)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def label(self, index: int) -> int:
        return self.source.label(index)

    def fingerprint(self) -> str:
        return self.source.fingerprint()


def classes(home: Path) -> Source:
    return build_source(guess_source(home / "pictures" / "classes"))


def paths(home: Path) -> list[Path]:
    return sorted((home / "pictures" / "classes").rglob("*.png"))


def of(model: Model, source: Source, folder: Path, reading: Reading | None = None) -> Extraction:
    chosen = reading or Reading()
    return Extraction(model.subject, {"all": source}, chosen, folder, batch_size=3, num_workers=0)


def test_parts_are_all_pictures_in_order_whoever_makes_them(
    model: Model, home: Path, tmp_path: Path
) -> None:
    source = Watched(classes(home))
    work = of(model, source, tmp_path)
    assert [list(part.pictures.indices) for part in work.parts()] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    heard: list[tuple[int, int]] = []
    assert work.make(1, 2, lambda done, total: heard.append((done, total))) == 4
    assert heard == [(0, 12), (3, 12), (4, 12), (4, 12)]
    assert work.make(0, 2, lambda done, total: heard.append((done, total))) == 8
    assert heard[-1] == (12, 12)
    assert source.opened == 12
    rows = torch.cat([rows for _, rows in work.rows()])
    assert source.opened == 12
    np.testing.assert_allclose(rows.numpy(), model.features(paths(home)), atol=1e-6)


def test_what_was_made_before_an_interruption_is_kept(
    model: Model, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_bank, "_SECONDS_BETWEEN_MARKS", -1)
    with pytest.raises(KeyboardInterrupt):
        of(model, Watched(classes(home), stop_at=7), tmp_path).make(0, 1)
    rest = Watched(classes(home))
    work = of(model, rest, tmp_path)
    assert work.num_made() == 7  # a part, and the first batch of the next
    heard: list[int] = []
    assert work.make(0, 1, lambda done, total: heard.append(done)) == 5
    assert heard[0] >= 4
    assert heard[-1] == 12
    assert rest.opened == 5


@pytest.mark.parametrize("suffix", [".parquet", ".npy", ".safetensors"])
@pytest.mark.parametrize("half", [False, True])
def test_files_hold_features_names_and_labels(
    model: Model, home: Path, tmp_path: Path, suffix: str, half: bool
) -> None:
    tokens = Reading((0, -1), "none")
    source = Watched(classes(home), broken=(5,))
    out = tmp_path / f"features{suffix}"
    write_table(table_of(of(model, source, tmp_path / "parts", tokens), half, {"model": "m"}), out)
    kept = [path for place, path in enumerate(paths(home)) if place != 5]
    expected = np.concatenate([model.tokens(kept, layer=layer) for layer in (0, 1)], axis=-1)
    names = [f"{path.parent.name}/{path.name}" for path in kept]
    if suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        table = parquet.read_table(out)
        about = json.loads(table.schema.metadata[b"jepakit"])
        shape = json.loads(table.schema.metadata[b"shape"])
        listed = table["features"].combine_chunks()
        found = listed.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)
        described = table.to_pydict()
        assert str(listed.type.value_type) == ("halffloat" if half else "float")
    else:
        found = np.load(out) if suffix == ".npy" else load_file(out)["features"]
        with out.with_name(f"{out.name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        described = {name: [row[name] for row in rows] for name in rows[0]}
        about = {"model": "m", "num_pictures": 11, "left_out": ["cat/5.png"]}
        assert found.dtype == (np.float16 if half else np.float32)
    np.testing.assert_allclose(found, expected, atol=2e-3 if half else 1e-5)
    assert described["name"] == names
    assert described["label"] == [name.split("/")[0] for name in names]
    assert about == {"model": "m", "num_pictures": 11, "left_out": ["cat/5.png"]}
    assert not list(tmp_path.glob(".*"))  # nothing half-written stays


def test_parts_of_a_dataset_and_answers_of_scenes_are_columns(model: Model, tmp_path: Path) -> None:
    scenes = build_source(ProceduralScenes.Settings(num_pictures=5, size=32))
    splits = {"train": scenes, "val": scenes}
    work = Extraction(model.subject, splits, Reading(), tmp_path / "parts", 3, 0)
    write_table(table_of(work, False, {}), tmp_path / "f.npy")
    with (tmp_path / "f.npy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train"] * 5 + ["val"] * 5
    first = scenes.labels(0)
    assert rows[0]["count"] == scenes.tasks["count"][int(first["count"])]
    assert np.load(tmp_path / "f.npy").shape == (10, 32)


def test_nothing_readable_and_unknown_kinds_are_refused(
    model: Model, home: Path, tmp_path: Path
) -> None:
    broken = Watched(classes(home), broken=tuple(range(12)))
    with pytest.raises(RunFailed, match="none of the 12 pictures can be read"):
        table_of(of(model, broken, tmp_path), False, {})
    with pytest.raises(ValueError, match=r"f\.txt is of no known kind: let it end in \.parquet, "):
        check_kind(Path("f.txt"))


def test_large_features_do_not_become_infinite(model: Model, home: Path, tmp_path: Path) -> None:
    work = of(model, classes(home), tmp_path / "parts")
    work.make(0, 1)
    for file in (tmp_path / "parts").glob("*.rows"):
        np.memmap(file, np.float32, "r+")[3] = 1e5
    with pytest.raises(RunFailed, match="leave --half out"):
        write_table(table_of(work, True, {}), tmp_path / "f.npy")
    assert not (tmp_path / "f.npy").exists()
