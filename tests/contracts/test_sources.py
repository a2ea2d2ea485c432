"""What every source of pictures promises, checked on each of them."""

import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from jepakit.data.sources import SOURCES, SourceSettings, build_source
from jepakit.data.sources.decoded import DecodedSource
from jepakit.data.sources.source import BrokenPicture

_PARSE = TypeAdapter(SourceSettings).validate_python


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
_OTHER_FORMS = {"streamed": ("huggingface", _parquet_settings)}


@pytest.fixture(params=[*SOURCES, *_OTHER_FORMS, "decoded"])
def source(request, tmp_path):
    kind = "table" if request.param == "decoded" else request.param
    kind, prepare = _OTHER_FORMS.get(kind) or (kind, _SETTINGS[kind])
    built = build_source(_PARSE({"kind": kind, **prepare(tmp_path / "pictures")}))
    return DecodedSource(built, tmp_path / "decoded") if request.param == "decoded" else built


def _indices(source):
    return [0, 1, 2, len(source) - 1]


def test_the_same_index_gives_the_same_sample(source):
    for index in _indices(source):
        first, again = source.sample(index), source.sample(index)
        np.testing.assert_array_equal(first.picture, again.picture)
        assert (first.name, first.label) == (again.name, again.label)


def test_pictures_are_uint8_with_the_stated_channels(source):
    for index in _indices(source):
        picture = source.sample(index).picture
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[2] == source.num_channels
        assert picture.std() > 0


def test_different_indices_are_different_pictures(source):
    first, second = source.sample(0), source.sample(1)
    assert first.name != second.name
    assert not np.array_equal(first.picture, second.picture)


def test_names_and_labels_are_known_without_decoding(source):
    for index in _indices(source):
        sample = source.sample(index)
        assert (sample.name, sample.label) == (source.name(index), source.label(index))
        assert -1 <= sample.label < max(1, len(source.classes))
    assert len({source.name(index) for index in _indices(source)}) == 4


def test_answers_are_places_in_the_classes_of_the_tasks(source):
    for index in _indices(source):
        answers = source.labels(index)
        assert answers.keys() >= source.tasks.keys()
        assert all(0 <= answers[task] < len(classes) for task, classes in source.tasks.items())
        assert all(isinstance(answers[task], int) for task in source.tasks)
        assert all(
            isinstance(answers[name], float) for name in answers.keys() - source.tasks.keys()
        )


def test_it_travels_to_other_processes(source):
    copy = pickle.loads(pickle.dumps(source))
    assert len(copy) == len(source)
    assert copy.classes == source.classes
    assert copy.fingerprint() == source.fingerprint()
    np.testing.assert_array_equal(copy.sample(2).picture, source.sample(2).picture)


def test_samples_can_be_written_on(source):
    before = source.sample(0).picture.copy()
    source.sample(0).picture[:] = 7
    np.testing.assert_array_equal(source.sample(0).picture, before)


def test_a_new_file_changes_the_fingerprint(tmp_path):
    settings = _PARSE({"kind": "folder", "path": tmp_path, "index_cache": False})
    _write_pictures(tmp_path)
    before = build_source(settings).fingerprint()
    assert build_source(settings).fingerprint() == before
    Image.new("RGB", (8, 8)).save(tmp_path / "class-0" / "new.png")
    assert build_source(settings).fingerprint() != before


def test_unknown_kinds_are_refused():
    with pytest.raises(ValidationError, match="folder"):
        _PARSE({"kind": "foldr", "path": "."})


def test_broken_pictures_cross_process_borders():
    error = pickle.loads(pickle.dumps(BrokenPicture("a.png", "torn")))
    assert (error.name, error.reason) == ("a.png", "torn")
