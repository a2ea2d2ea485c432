"""One text names pictures of any kind; what it is told apart by is what lies there."""

import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from jepakit.data.sources import build_source, guess_parts, guess_source, open_parts, short_name


def _picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)


def _folder(root):
    for part in ("train", "val"):
        for label in "ab":
            _picture(root / part / label / "1.png")
    return root


def _table(root, ending):
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    _picture(root / "1.png")
    rows = {"path": ["1.png"], "label": ["x"]}
    file = root / f"table.{ending}"
    if ending == "csv":
        file.write_text("path,label\n1.png,x\n")
    else:
        pyarrow.parquet.write_table(pyarrow.table(rows), file)
    return file


def _parquet_of_pictures(root):
    datasets = pytest.importorskip("datasets")
    _picture(root / "1.png")
    features = datasets.Features({"image": datasets.Image()})
    rows = datasets.Dataset.from_dict({"image": [str(root / "1.png")]}, features)
    rows.to_parquet(root / "rows.parquet")
    return root / "rows.parquet"


def _clevr(root):
    _picture(root / "images" / "train" / "CLEVR_train_000000.png")
    (root / "scenes").mkdir()
    scene = {"image_filename": "CLEVR_train_000000.png", "objects": [{}] * 3}
    for found in scene["objects"]:
        found["pixel_coords"] = [0, 0, 9.0]
    (root / "scenes" / "CLEVR_train_scenes.json").write_text(json.dumps({"scenes": [scene]}))
    return root


def _tar(root):
    _folder(root / "unpacked")
    with tarfile.open(root / "pictures.tar", "w") as tar:
        tar.add(root / "unpacked", "pictures")
    return root / "pictures.tar"


def _folder_of_tars(root):
    file = _tar(root / "elsewhere")
    (root / "tars").mkdir()
    return file.rename(root / "tars" / "0.tar").parent


def _array(root):
    root.mkdir()
    np.save(root / "pictures.npy", np.zeros((2, 8, 8, 3), np.uint8))
    return root / "pictures.npy"


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (_folder, "folder"),
        (lambda root: _table(root, "csv"), "table"),
        (lambda root: _table(root, "parquet"), "table"),
        (_parquet_of_pictures, "huggingface"),
        (_clevr, "clevr"),
        (_array, "arrays"),
        (_tar, "shards"),
        (_folder_of_tars, "shards"),
    ],
)
def test_what_lies_there_tells_the_kind(tmp_path, make, kind):
    settings = guess_source(str(make(tmp_path / "data")))
    assert settings.kind == kind
    assert len(build_source(settings)) >= 1


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("scenes", "scenes", {}),
        ("hf:uoft-cs/cifar10", "huggingface", {"path": "uoft-cs/cifar10", "revision": None}),
        ("hf:beans@1a2b", "huggingface", {"path": "beans", "revision": "1a2b"}),
        ("data/x-{00..12}.tar", "shards", {"path": "data/x-{00..12}.tar"}),
        ("https://host/a/index.json", "shards", {}),
        ("pipe:cat a.tar", "shards", {}),
        ("a.tar::b.tar", "shards", {}),
        ("torchvision:CIFAR10", "torchvision", {"name": "CIFAR10", "split": None}),
        ("torchvision:STL10/unlabeled", "torchvision", {"name": "STL10", "split": "unlabeled"}),
    ],
)
def test_names_of_datasets(text, kind, found):
    settings = guess_source(text)
    assert settings.kind == kind
    assert {name: getattr(settings, name) for name in found} == found


def test_a_folder_called_scenes_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _picture(tmp_path / "scenes" / "1.png")
    assert guess_source("scenes").kind == "folder"


def test_parts(tmp_path):
    assert guess_parts(_folder(tmp_path / "folder")).keys() == {"train", "val"}
    assert guess_parts(_array(tmp_path / "array")).keys() == {"all"}
    assert guess_parts(_tar(tmp_path / "tar")).keys() == {"train", "val"}
    assert open_parts(tmp_path / "folder")["val"].classes == ("a", "b")


def test_parts_of_a_dataset_of_torchvision():
    parts = guess_parts("torchvision:FakeData")
    assert parts.keys() == {"all"}
    assert len(build_source(parts["all"])) == 1000


def test_parts_of_a_dataset_on_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    _picture(tmp_path / "1.png")
    features = datasets.Features({"image": datasets.Image()})
    rows = datasets.Dataset.from_dict({"image": [str(tmp_path / "1.png")]}, features)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "saved")
    assert guess_parts(tmp_path / "saved").keys() == {"train", "test"}


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "names no pictures"),
        ("hf:", "names no pictures"),
        ("http://host/folder", r"index\.json of a packed folder"),
    ],
)
def test_what_names_nothing_is_refused(text, advice):
    with pytest.raises(ValueError, match=advice):
        guess_source(text)


@pytest.mark.parametrize(("name", "advice"), [("a.zip", "unpacked first"), ("a.txt", "known kind")])
def test_files_of_other_kinds_are_refused(tmp_path, name, advice):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=advice):
        build_source(guess_source(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://host/pets/index.json", "pets"),
        ("/data/My pictures/", "My-pictures"),
        ("hf:uoft-cs/cifar10@main", "cifar10-main"),
        ("torchvision:STL10/unlabeled", "unlabeled"),
        ("https://host/in1k/train-{0000..0099}.tar", "train"),
        ("labels.csv", "labels"),
    ],
)
def test_short_names(text, name):
    assert short_name(text) == name
