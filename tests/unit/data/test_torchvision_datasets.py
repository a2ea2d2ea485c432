"""torchvision's own classes, on small copies of the layouts in which their data is published."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from jepakit.core.errors import RunFailed
from jepakit.data.sources.source import BrokenPicture
from jepakit.data.sources.torchvision_datasets import TorchvisionDataset


def opened(root: Path, name: str, **settings: Any) -> TorchvisionDataset:
    return TorchvisionDataset(TorchvisionDataset.Settings(name=name, root=root, **settings))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(20, 24, 3, seed=seed)).save(path)


def labels(source: TorchvisionDataset) -> list[int]:
    return [source.label(index) for index in range(len(source))]


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = noise(6, 3, 32, 32)
    for name, part in (("data_batch_1", slice(0, 4)), ("test_batch", slice(4, 6))):
        content = {"data": pixels[part].reshape(-1, 3072), "labels": [3, 1, 0, 3][: part.stop]}
        content["labels"] = content["labels"][: len(content["data"])]
        (folder / name).write_bytes(pickle.dumps(content))
    names = [f"class {number}" for number in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    for attribute, name in (("train_list", "data_batch_1"), ("test_list", "test_batch")):
        monkeypatch.setattr(datasets.CIFAR10, attribute, [[name, md5(folder / name)]])
    meta = {**datasets.CIFAR10.meta, "md5": md5(folder / "batches.meta")}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return pixels.transpose(0, 2, 3, 1)


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = write_cifar10(tmp_path, monkeypatch)
    train, test = opened(tmp_path, "CIFAR10"), opened(tmp_path, "CIFAR10", split="test")
    np.testing.assert_array_equal(train.sample(2).picture, pixels[2])
    np.testing.assert_array_equal(test.open(1).pixels(), pixels[5])
    assert (labels(train), labels(test)) == ([3, 1, 0, 3], [3, 1])
    assert train.classes[3] == "class 3"
    assert train.name(1) == "CIFAR10-000001"
    assert train.stored(0) is None
    assert train.fingerprint() != test.fingerprint()
    assert opened(tmp_path, "CIFAR10", channels=1).sample(0).picture.shape == (32, 32, 1)
    with pytest.raises(ValueError, match=r"no part 'val': set data\.source\.split .*train, test"):
        opened(tmp_path, "CIFAR10", split="val")


def test_stl10_and_its_unlabelled_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = noise(3, 3, 96, 96)
    for part in ("train", "test", "unlabeled"):
        (folder / f"{part}_X.bin").write_bytes(pixels.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes([10, 2, 2]))
    (folder / "class_names.txt").write_text("\n".join(f"c{number}" for number in range(10)))
    for attribute in ("train_list", "test_list"):
        files = [
            [name, md5(folder / name)]
            for name, _ in getattr(datasets.STL10, attribute)
            if (folder / name).exists()
        ]
        monkeypatch.setattr(datasets.STL10, attribute, files)
    train = opened(tmp_path, "STL10", split="train")
    assert (labels(train), train.classes[9]) == ([9, 1, 1], "c9")
    np.testing.assert_array_equal(train.sample(1).picture, pixels[1].transpose(1, 2, 0))
    assert labels(opened(tmp_path, "STL10", split="unlabeled")) == [-1, -1, -1]
    with pytest.raises(ValueError, match="Unknown value 'val' for argument split"):
        opened(tmp_path, "STL10", split="val")


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_mnist(tmp_path: Path, name: str) -> None:
    pixels = noise(4, 28, 28)
    raw = tmp_path / name / "raw"
    raw.mkdir(parents=True)
    for part, number in (("train", 4), ("t10k", 2)):
        head = struct.pack(">IIII", 2051, number, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels[:number].tobytes())
        head = struct.pack(">II", 2049, number)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(head + bytes([7, 0, 9, 3][:number]))
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(b""))
    train = opened(tmp_path, name, channels=1)
    np.testing.assert_array_equal(train.sample(3).picture[:, :, 0], pixels[3])
    assert (labels(train), len(train.classes)) == ([7, 0, 9, 3], 10)
    assert len(opened(tmp_path, name, split="test")) == 2
    assert opened(tmp_path, name).sample(0).picture.shape == (28, 28, 3)


def test_food101_is_read_from_its_files(tmp_path: Path) -> None:
    food = tmp_path / "food-101"
    parts = {"train": {"soup": ["soup/3", "soup/1"], "pie": ["pie/2"]}, "test": {"pie": ["pie/9"]}}
    (food / "meta").mkdir(parents=True)
    for part, listed in parts.items():
        (food / "meta" / f"{part}.json").write_text(json.dumps(listed))
        for name in (name for names in listed.values() for name in names):
            save(food / "images" / f"{name}.jpg", seed=int(name[-1]))
    source = opened(tmp_path, "Food101")
    names = [source.name(index) for index in range(3)]
    assert names == [f"food-101/images/{name}.jpg" for name in ("pie/2", "soup/1", "soup/3")]
    assert (source.classes, labels(source)) == (("pie", "soup"), [0, 1, 1])
    stored = source.stored(1)
    assert stored is not None
    assert stored.suffix == ".jpg"
    assert stored.content == (tmp_path / names[1]).read_bytes()
    assert source.sample(1).picture.shape == (20, 24, 3)
    (tmp_path / names[1]).write_bytes(b"no picture")
    with pytest.raises(BrokenPicture, match=r"soup/1\.jpg: not a picture"):
        source.open(1)


def write_folders(root: Path) -> None:
    for number, name in enumerate(("Forest", "River", "River")):
        save(root / name / f"{number}.png", seed=number)


def test_eurosat_has_no_parts(tmp_path: Path) -> None:
    write_folders(tmp_path / "eurosat" / "2750")
    source = opened(tmp_path, "EuroSAT")
    assert (source.classes, labels(source)) == (("Forest", "River"), [0, 1, 1])
    assert source.name(0) == "eurosat/2750/Forest/0.png"
    with pytest.raises(ValueError, match=r"not stored in parts: leave out data\.source\.split"):
        opened(tmp_path, "EuroSAT", split="train")


def test_imagenettes_classes_have_several_names(tmp_path: Path) -> None:
    for part in ("train", "val"):
        save(tmp_path / "imagenette2-160" / part / "n01440764" / "a.JPEG")
        save(tmp_path / "imagenette2-160" / part / "n02979186" / "b.JPEG")
    source = opened(tmp_path, "Imagenette", split="val", options={"size": "160px"})
    assert source.classes == ("tench, Tinca tinca", "cassette player")
    assert source.name(1) == "imagenette2-160/val/n02979186/b.JPEG"


def test_inaturalists_parts_are_versions(tmp_path: Path) -> None:
    for version, number in (("2021_train", 2), ("2021_valid", 1)):
        for place, species in enumerate(("a_b_c_d_e_f_g", "a_b_c_d_e_x_y")):
            for picture in range(number):
                save(tmp_path / version / f"{place:05d}_{species}" / f"{picture}.jpg", seed=place)
    assert len(opened(tmp_path, "INaturalist", split="train")) == 4
    held_out = opened(tmp_path, "INaturalist", split="val")
    assert (len(held_out), labels(held_out)) == (2, [0, 1])
    assert held_out.classes == ("00000_a_b_c_d_e_f_g", "00001_a_b_c_d_e_x_y")
    kingdom = opened(tmp_path, "INaturalist", options={"target_type": "kingdom"})
    assert (kingdom.classes, labels(kingdom)) == (("0",), [0, 0, 0, 0])
    with pytest.raises(ValueError, match="answers tuple where one class is needed"):
        opened(tmp_path, "INaturalist", options={"target_type": ["kingdom", "genus"]})


def test_labels_without_a_name_of_their_own(tmp_path: Path) -> None:
    """GTSRB opens files by itself, and knows their classes as numbers."""
    for number in (0, 2):
        save(tmp_path / "gtsrb" / "GTSRB" / "Training" / f"{number:05d}" / "x.ppm", seed=number)
    source = opened(tmp_path, "GTSRB")
    assert (source.classes, labels(source)) == (("0", "1"), [0, 1])
    np.testing.assert_array_equal(source.sample(1).picture, noise(20, 24, 3, seed=2))


def test_another_question_is_not_taken_for_the_class(tmp_path: Path) -> None:
    pets = tmp_path / "oxford-iiit-pet"
    for name in ("Abyssinian_1", "beagle_1"):
        save(pets / "images" / f"{name}.jpg")
    (pets / "annotations").mkdir()
    text = "Abyssinian_1 1 2 1\nbeagle_1 2 1 1\n"
    (pets / "annotations" / "trainval.txt").write_text(text)
    source = opened(tmp_path, "OxfordIIITPet", split="train")
    assert (source.classes, labels(source)) == (("Abyssinian", "Beagle"), [0, 1])
    species = opened(tmp_path, "OxfordIIITPet", options={"target_types": "binary-category"})
    assert labels(species) == [1, 0]


def test_fake_data_is_the_same_everywhere(tmp_path: Path) -> None:
    options = {"size": 12, "image_size": [3, 10, 8], "num_classes": 4}
    source = opened(tmp_path, "FakeData", options=options)
    before = torch.get_rng_state()
    first = source.sample(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again = pickle.loads(pickle.dumps(source)).sample(5)
    np.testing.assert_array_equal(first.picture, again.picture)
    assert first.label == again.label == source.label(5)
    assert (source.classes, first.picture.shape) == (("0", "1", "2", "3"), (10, 8, 3))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cifar10", {}, "did you mean 'CIFAR10'"),
        ("Food-101", {}, "did you mean 'Food101'"),
        ("zzzzzzzz", {}, "known are CIFAR10, "),
        ("CIFAR10", {}, r"is not in .*: set data\.source\.download=true"),
        ("MNIST", {}, r"is not in .*: set data\.source\.download=true"),
        ("ImageFolder", {}, r"is not in .*: put it there"),
        ("CIFAR10", {"options": {"trian": 1}}, "no option 'trian': it takes train"),
        ("EMNIST", {}, r"must be told split: set data\.source\.options=\{split: VALUE\}"),
        ("FakeData", {"split": "train"}, "not stored in parts"),
        ("FakeData", {"download": True}, "cannot download FakeData"),
        ("FakeData", {"options": {"size": 0}}, "torchvision's FakeData: "),
        ("VOCSegmentation", {"options": {"year": "1900"}}, "Unknown value '1900'"),
        ("StanfordCars", {"download": True}, "cannot be downloaded anymore"),
    ],
)
def test_mistakes_get_a_clear_sentence(
    tmp_path: Path, name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        opened(tmp_path / "none", name, **settings)
    assert "\n" not in str(caught.value)


def test_data_sets_without_classes_are_refused(tmp_path: Path) -> None:
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    save(voc / "JPEGImages" / "a.jpg")
    save(voc / "SegmentationClass" / "a.png")
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    (voc / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    with pytest.raises(ValueError, match="where one class is needed"):
        opened(tmp_path, "VOCSegmentation")


def refuse(*arguments: Any, **options: Any) -> Any:
    raise socket.gaierror(-2, "Name or service not known")


@pytest.mark.parametrize("name", ["CIFAR10", "MNIST", "Food101", "Places365"])
def test_a_download_without_a_network_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(RunFailed, match=f"{name} cannot be downloaded .*: check the network"):
        opened(tmp_path, name, download=True)
    assert socket.getdefaulttimeout() is None


def test_the_default_place_is_our_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path))
    write_folders(tmp_path / "torchvision" / "eurosat" / "2750")
    source = TorchvisionDataset(TorchvisionDataset.Settings(name="EuroSAT"))
    assert len(source) == 3


@pytest.mark.parametrize("change", [lambda p: save(p, 9), lambda p: p.unlink()])
def test_changed_files_change_the_fingerprint(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    write_folders(tmp_path / "eurosat" / "2750")
    before = opened(tmp_path, "EuroSAT").fingerprint()
    assert opened(tmp_path, "EuroSAT").fingerprint() == before
    change(tmp_path / "eurosat" / "2750" / "River" / "1.png")
    assert opened(tmp_path, "EuroSAT").fingerprint() != before
