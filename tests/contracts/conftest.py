"""Sources of every kind, each made of a few small pictures."""

import json
import tarfile

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from jepakit.data.packing import Packing
from jepakit.data.sources import SOURCES, SourceSettings, build_source
from jepakit.data.sources.decoded import DecodedSource

parse = TypeAdapter(SourceSettings).validate_python


def _write_pictures(folder):
    random = np.random.default_rng(0)
    for number in range(8):
        place = folder / f"class-{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")


def _folder_settings(folder):
    _write_pictures(folder)
    return {"path": folder, "index_cache": False}


def _table_settings(folder):
    _write_pictures(folder)
    paths = [f"class-{number % 2}/{number}.png" for number in range(8)]
    rows = [f"{path},{number % 3},{number}" for number, path in enumerate(paths)]
    (folder / "labels.csv").write_text("\n".join(["path,label,age", *rows]))
    return {"path": folder / "labels.csv"}


def _clevr_settings(folder):
    _write_pictures(folder / "unsorted")
    scenes = []
    for number, picture in enumerate(sorted((folder / "unsorted").glob("*/*.png"))):
        name = f"CLEVR_train_{number:06d}.png"
        (folder / "images" / "train").mkdir(parents=True, exist_ok=True)
        picture.rename(folder / "images" / "train" / name)
        objects = [{"pixel_coords": [1, 2, 7.8 + number / 2]}] * (3 + number)
        scenes.append({"image_filename": name, "objects": objects})
    (folder / "scenes").mkdir()
    listed = json.dumps({"scenes": scenes})
    (folder / "scenes" / "CLEVR_train_scenes.json").write_text(listed)
    return {"path": folder}


def _arrays_settings(folder):
    random = np.random.default_rng(0)
    folder.mkdir()
    np.save(folder / "pictures.npy", random.integers(0, 256, (8, 10, 12, 3), dtype=np.uint8))
    np.save(folder / "labels.npy", np.arange(8) % 3)
    return {"path": folder / "pictures.npy", "labels": folder / "labels.npy"}


def _parquet_settings(folder):
    """A table with the pictures themselves, of which there are two row groups."""
    datasets = pytest.importorskip("datasets")
    _write_pictures(folder)
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["x", "y"]),
        "kind": datasets.ClassLabel(names=["u", "v", "w"]),
    }
    content = {
        "image": [str(path) for path in sorted(folder.glob("*/*.png"))],
        "label": [number % 2 for number in range(8)],
        "kind": [number % 3 for number in range(8)],
    }
    made = datasets.Dataset.from_dict(content, datasets.Features(features))
    made.save_to_disk(folder / "saved")
    made.to_parquet(folder / "pictures.parquet", batch_size=4)
    return {"path": str(folder / "pictures.parquet"), "streaming": True}


def _saved_settings(folder):
    _parquet_settings(folder)
    return {"path": str(folder / "saved")}


def _mixed_settings(folder):
    fake = {"kind": "torchvision", **_FAKE_DATA}
    files = {"kind": "folder", **_folder_settings(folder)}
    return {"sources": [{"source": files, "weight": 2}, {"source": fake}], "pictures": 12}


_FAKE_DATA = {"name": "FakeData", "options": {"size": 9, "image_size": [3, 10, 12]}}


def _shards_settings(folder):
    _write_pictures(folder)
    with tarfile.open(folder.with_suffix(".tar"), "w") as tar:
        tar.add(folder, "pictures")
    return {"path": folder.with_suffix(".tar"), "index_cache": False}


_SETTINGS = {
    "folder": _folder_settings,
    "scenes": lambda folder: {},
    "clevr": _clevr_settings,
    "table": _table_settings,
    "arrays": _arrays_settings,
    "huggingface": _saved_settings,
    "torchvision": lambda folder: _FAKE_DATA,
    "mixed": _mixed_settings,
    "shards": _shards_settings,
}


def _packed_settings(folder):
    table = build_source(parse({"kind": "table", **_table_settings(folder)}))
    packed = folder.with_name("packed")
    Packing(Packing.Settings(), {"all": table}, packed).run(lambda done, total: None)
    return {"path": packed}


_OTHER_FORMS = {
    "streamed": ("huggingface", _parquet_settings),
    "packed": ("shards", _packed_settings),
}


def make(form, folder):
    """A source of a kind, or of another form of one."""
    if form == "decoded":
        return DecodedSource(make("table", folder), folder.with_name("decoded"))
    kind, prepare = _OTHER_FORMS.get(form) or (form, _SETTINGS[form])
    return build_source(parse({"kind": kind, **prepare(folder)}))


@pytest.fixture(params=[*SOURCES, *_OTHER_FORMS, "decoded"])
def source(request, tmp_path):
    return make(request.param, tmp_path / "pictures")


@pytest.fixture
def make_source(tmp_path):
    return lambda form: make(form, tmp_path / "pictures")
