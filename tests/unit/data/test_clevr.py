"""CLEVR in both of its layouts: the exact labels, the parts, and what is said when files lack."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jepakit.data.sources import guess_source
from jepakit.data.sources.clevr import Clevr

MINI = Path(__file__).parents[3] / ".." / "shared" / "data" / "clevr-mini.tar"


def draw(file: Path, grey: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", (12, 8), (grey, 0, 255, 255)).save(file)


def scene(name: str, depths: list[float]) -> dict[str, Any]:
    objects = [
        {"shape": "cube", "3d_coords": [1.0, 2.0, 0.7], "pixel_coords": [10, 20, depth]}
        for depth in depths
    ]
    relationships = {"left": [[] for _ in depths]}
    return {"image_filename": name, "objects": objects, "relationships": relationships}


def write_published(root: Path, depths: dict[str, list[list[float]]]) -> Path:
    """One picture per list of depths, in parts; a part without scenes has the value []."""
    for part, scenes in depths.items():
        names = [f"CLEVR_{part}_{number:06d}.png" for number in range(max(1, len(scenes)))]
        for number, name in enumerate(names):
            draw(root / "images" / part / name, number)
        (root / "scenes").mkdir(exist_ok=True)
        listed = [scene(*pair) for pair in zip(names, scenes, strict=False)]
        if scenes:
            file = root / "scenes" / f"CLEVR_{part}_scenes.json"
            file.write_text(json.dumps({"info": {"split": part}, "scenes": listed}))
    return root


def write_views(root: Path) -> Path:
    """Two cameras on a scene of 3 objects for training, one on a scene of 10 for testing."""
    for name, count in (("CLEVR_new_000001", 3), ("CLEVR_new_000002", 10)):
        (root / "scenes").mkdir(parents=True, exist_ok=True)
        file = root / "scenes" / f"{name}.json"
        file.write_text(json.dumps(scene(name, [9.1] * count)))
    draw(root / "train" / "03" / "CLEVR_new_000001-04.png", 1)
    draw(root / "train" / "03" / "CLEVR_new_000001-17.png", 2)
    draw(root / "test" / "10" / "CLEVR_new_000002-00.png", 3)
    return root


def opened(root: Path, split: str = "train") -> Clevr:
    settings = guess_source(root, split=split)
    assert isinstance(settings, Clevr.Settings)
    return Clevr(settings)


def test_count_and_distance_are_those_of_vtab(tmp_path: Path) -> None:
    far = 12.0
    nearest = [7.9, 8.0, 8.1, 8.5, 8.6, 9.0, 9.2, 9.5, 9.9, 10.0, 10.1]
    source = opened(write_published(tmp_path, {"train": [[far, d, far] for d in nearest]}))
    classes = [source.labels(index)["distance"] for index in range(len(source))]
    assert classes == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    distances = [source.labels(index)["nearest_distance"] for index in range(len(source))]
    assert distances == pytest.approx(nearest)
    assert len(source.tasks["distance"]) == 6
    assert source.tasks["count"] == source.classes == ("3", "4", "5", "6", "7", "8", "9", "10")


def test_counts_start_at_three(tmp_path: Path) -> None:
    source = opened(write_published(tmp_path, {"train": [[9.0] * count for count in (3, 10, 4)]}))
    assert [source.label(index) for index in range(3)] == [0, 7, 1]
    assert [source.labels(index)["count"] for index in range(3)] == [0, 7, 1]


def test_the_edge_is_compared_in_single_precision(tmp_path: Path) -> None:
    source = opened(write_published(tmp_path, {"train": [[8.00000001, 9.0, 9.0]]}))
    assert source.labels(0)["distance"] == 0


def test_pictures_are_opaque_rgb_in_the_order_of_the_scenes(tmp_path: Path) -> None:
    source = opened(write_published(tmp_path, {"train": [[9.0] * 3, [9.0] * 4]}))
    sample = source.sample(1)
    assert sample.picture.shape == (8, 12, 3)
    assert sample.picture[0, 0].tolist() == [1, 0, 255]
    assert (sample.name, sample.label) == ("CLEVR_train_000001.png", 1)


def test_parts_are_kept_apart_and_the_test_part_is_unlabelled(tmp_path: Path) -> None:
    root = write_published(tmp_path, {"train": [[9.0] * 3], "val": [[9.0] * 5] * 2, "test": []})
    assert [opened(root, "val").label(index) for index in range(2)] == [2, 2]
    test = opened(root, "test")
    assert (len(test), test.classes, dict(test.tasks)) == (1, (), {})
    assert (test.label(0), test.labels(0)) == (-1, {})


def test_the_folder_around_the_unpacked_archive_is_understood(tmp_path: Path) -> None:
    (tmp_path / "CLEVR_v1.0").mkdir()
    write_published(tmp_path / "CLEVR_v1.0", {"train": [[9.0] * 3]})
    assert len(opened(tmp_path)) == 1


def test_views_of_scenes_can_only_be_counted(tmp_path: Path) -> None:
    root = write_views(tmp_path)
    train, test = opened(root), opened(root, "test")
    assert [train.name(index) for index in range(2)] == [
        "03/CLEVR_new_000001-04.png",
        "03/CLEVR_new_000001-17.png",
    ]
    assert (train.label(1), test.label(0)) == (0, 7)
    assert list(train.tasks) == ["count"]
    assert test.labels(0) == {"count": 7}
    assert train.sample(0).picture[0, 0].tolist() == [1, 0, 255]


def test_a_view_in_the_wrong_folder_is_refused(tmp_path: Path) -> None:
    draw(write_views(tmp_path) / "train" / "04" / "CLEVR_new_000001-09.png", 1)
    with pytest.raises(ValueError, match=r"04/.*lies in folder '04', but .* has 3 objects"):
        opened(tmp_path)


def test_a_view_without_its_scene_is_refused(tmp_path: Path) -> None:
    draw(write_views(tmp_path) / "train" / "03" / "CLEVR_new_000009-09.png", 1)
    with pytest.raises(ValueError, match=r"000009\.json is missing: unpack the scenes"):
        opened(tmp_path)


def test_a_part_that_is_not_there_is_named_with_the_others(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no part 'val': set split to one of: train, test"):
        opened(write_views(tmp_path), "val")


def test_missing_pictures_and_scenes_are_reported(tmp_path: Path) -> None:
    root = write_published(tmp_path, {"train": [[9.0] * 3] * 2})
    with pytest.raises(ValueError, match=r"no folder .*val: unpack the whole"):
        opened(root, "val")
    (root / "images" / "train" / "CLEVR_train_000001.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 pictures .* e\.g\. CLEVR_train_000001\.png"):
        opened(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged .*: unpack it again"),
        ('{"scenes": 3}', "does not list CLEVR's scenes"),
        ('{"scenes": [{"objects": [{"shape": "cube"}]}]}', "is damaged"),
        (json.dumps({"scenes": [scene("CLEVR_train_000000.png", [9.0] * 2)]}), "has 2 objects"),
        (
            json.dumps({"scenes": [scene("CLEVR_train_000000.png", []) | {"objects": [{}] * 3}]}),
            "has no pixel_coords",
        ),
    ],
)
def test_damaged_scenes_are_reported(tmp_path: Path, content: str, message: str) -> None:
    root = write_published(tmp_path, {"train": [[9.0] * 3]})
    (root / "scenes" / "CLEVR_train_scenes.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        opened(root)


def test_another_folder_is_not_clevr(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not CLEVR: set --data to the unpacked CLEVR"):
        Clevr(Clevr.Settings(path=tmp_path))


def test_changed_labels_change_the_fingerprint(tmp_path: Path) -> None:
    before = opened(write_published(tmp_path, {"train": [[9.0] * 3]})).fingerprint()
    assert opened(tmp_path).fingerprint() == before
    changed = opened(write_published(tmp_path, {"train": [[9.0, 9.0, 8.9]]})).fingerprint()
    assert changed != before


@pytest.mark.skipif(not MINI.is_file(), reason="needs ../shared/data/clevr-mini.tar")
def test_genuine_renders_are_read(tmp_path: Path) -> None:
    with tarfile.open(MINI) as archive:
        archive.extractall(tmp_path, filter="data")
    train, test = opened(tmp_path), opened(tmp_path, "test")
    assert (len(train), len(test)) == (86, 38)
    counts = np.bincount([test.label(index) for index in range(len(test))], minlength=8)
    folders = [len(list(f.iterdir())) for f in sorted((tmp_path / "test").iterdir())]
    assert counts.tolist() == folders
    assert train.sample(0).picture.shape == (240, 320, 3)
