"""Arrays of pictures: where their axes lie, what they are labelled with; none is copied."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jepakit.core.tensors import MaskIndices
from jepakit.data.loader import TrainingStream
from jepakit.data.sources.arrays import ArraySource
from jepakit.data.views import RandomView


def pictures(number: int = 6, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, *(shape or (9, 8, 3))), np.uint8)


def saved(folder: Path, array: np.ndarray, **settings: Any) -> ArraySource:
    np.save(folder / "pictures.npy", array)
    return ArraySource(ArraySource.Settings(path=folder / "pictures.npy", **settings))


def shares_memory(source: ArraySource, array: np.ndarray) -> bool:
    return np.shares_memory(source.open(1).pixels(), array)


def test_a_file_is_mapped_and_not_copied(tmp_path: Path) -> None:
    array = pictures()
    source = saved(tmp_path, array)
    picture = source.open(2).pixels()
    np.testing.assert_array_equal(picture, array[2])
    assert not picture.flags.writeable
    assert picture.base is not None
    assert (len(source), source.name(2), source.classes, source.label(2)) == (
        *(6, "picture-000002", ()),
        -1,
    )


def test_another_process_maps_the_file_itself(tmp_path: Path) -> None:
    array = pictures(200, 32, 32, 3)
    source = saved(tmp_path, array)
    sent = pickle.dumps(source)
    assert len(sent) < array.nbytes / 10
    np.testing.assert_array_equal(pickle.loads(sent).sample(199).picture, array[199])


def test_memory_is_used_as_it_is() -> None:
    array = pictures()
    source = ArraySource.of(array, labels=[0, 1, 2, 0, -1, 2], classes=["a", "b", "c"])
    assert shares_memory(source, array)
    assert source.classes == ("a", "b", "c")
    assert [source.label(index) for index in range(6)] == [0, 1, 2, 0, -1, 2]
    assert not np.shares_memory(source.sample(1).picture, array)
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.sample(3).picture, array[3])


def test_channels_first_of_a_tensor_are_recognised_without_a_copy() -> None:
    tensor = torch.from_numpy(pictures(5, 3, 9, 8))
    source = ArraySource.of(tensor, labels=torch.arange(5))
    assert (source.num_channels, source.open(0).size) == (3, (9, 8))
    assert shares_memory(source, tensor.numpy())
    np.testing.assert_array_equal(source.sample(4).picture, tensor[4].permute(1, 2, 0).numpy())


def test_pictures_of_many_channels() -> None:
    array = pictures(4, 9, 8, 7)
    assert ArraySource.of(array).num_channels == 7
    first = ArraySource.of(array, layout="channels_first")
    assert (first.num_channels, first.open(0).size) == (9, (8, 7))


def test_grey_stays_grey_in_memory_and_becomes_colour_in_a_file(tmp_path: Path) -> None:
    array = pictures(4, 9, 8)
    source = ArraySource.of(array)
    assert source.num_channels == 1
    assert shares_memory(source, array)
    coloured = saved(tmp_path, array).sample(1).picture
    np.testing.assert_array_equal(coloured, np.repeat(array[1][..., None], 3, 2))
    assert saved(tmp_path, array, channels=1).sample(1).picture.shape == (9, 8, 1)


def test_16_bits_and_other_ranges_become_8_bits() -> None:
    deep = (pictures().astype(np.uint16)) * 257
    np.testing.assert_array_equal(ArraySource.of(deep).sample(0).picture, pictures()[0])
    real = pictures().astype(np.float32) / 255 - 0.5
    source = ArraySource.of(real, values=(-0.5, 0.5))
    np.testing.assert_array_equal(source.sample(3).picture, pictures()[3])


def test_parts_of_an_npz(tmp_path: Path) -> None:
    arrays = {
        "train_images": pictures(6),
        "train_labels": np.array([5, 7, 5, 5, 9, 7])[:, None],
        "test_images": pictures(6) // 2,
        "test_labels": np.array([9, 9, 5, 7, 7, 7])[:, None],
    }
    np.savez(tmp_path / "set.npz", **arrays)
    path = tmp_path / "set.npz"
    train = ArraySource(ArraySource.Settings(path=path))
    assert (len(train), train.classes, train.label(4)) == (6, ("5", "7", "9"), 2)
    test = ArraySource(ArraySource.Settings(path=path, split="test"))
    np.testing.assert_array_equal(test.sample(3).picture, arrays["test_images"][3])
    assert [test.label(index) for index in range(6)] == [2, 2, 0, 1, 1, 1]
    with pytest.raises(ValueError, match=r"train_images, test_images: set data\.source\.split"):
        ArraySource(ArraySource.Settings(path=path, split="val"))


def test_other_names_in_an_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "set.npz", x=pictures(3), y=np.arange(3), weights=np.ones(3))
    source = ArraySource(ArraySource.Settings(path=tmp_path / "set.npz"))
    assert [source.label(index) for index in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("ending", [".npy", ".txt"])
def test_labels_in_a_file(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"labels{ending}"
    if ending == ".npy":
        np.save(file, np.array([2, 10, 2, 10, 3, 2]))
    else:
        file.write_text("2\n10\n2\n10\n3\n2\n")
    source = saved(tmp_path, pictures(), labels=file)
    assert source.classes == ("2", "3", "10")
    assert [source.label(index) for index in range(6)] == [0, 2, 0, 2, 1, 0]


@pytest.mark.parametrize(
    ("array", "settings", "message"),
    [
        (np.zeros((4, 8, 8, 5), np.uint8), {}, r"set data\.source\.channels=5 or 8"),
        (np.zeros((4, 8, 8, 3), np.uint8), {"channels": 6}, r"set data\.source\.channels=3"),
        (np.zeros((4, 8, 8), np.float32), {}, r"say which .* data\.source\.values=\[LOW,HIGH\]"),
        (np.zeros((4, 8), np.uint8), {}, "must be B H W"),
        (np.zeros((0, 8, 8), np.uint8), {}, "holds no pictures"),
        (np.zeros((4, 8, 8), np.uint8), {"max_pixels": 9}, r"more than max_pixels=9 \(.*\)$"),
        (np.zeros((4, 8, 8), np.uint8), {"split": "train"}, "without parts"),
        (np.array([None, 1]), {}, r"is not a \.npy or \.npz file of numbers"),
    ],
)
def test_mistakes_get_a_clear_sentence(
    tmp_path: Path, array: np.ndarray, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        saved(tmp_path, array, **settings)


def test_wrong_labels_get_a_clear_sentence() -> None:
    with pytest.raises(ValueError, match="5 labels for 6 pictures"):
        ArraySource.of(pictures(), labels=range(5))
    with pytest.raises(ValueError, match="label 5 has no name among 2 classes"):
        ArraySource.of(pictures(), labels=range(6), classes=["a", "b"])
    with pytest.raises(ValueError, match="label -2 is not possible"):
        ArraySource.of(pictures(), labels=range(-2, 4))
    with pytest.raises(ValueError, match="label 'd' is not among the 2 classes"):
        ArraySource.of(pictures(), labels=["a", "b", "d", "a", "a", "a"], classes=["a", "b"])


def test_missing_files_get_a_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set data\.source\.path"):
        ArraySource(ArraySource.Settings(path=tmp_path / "none.npy"))
    with pytest.raises(ValueError, match=r"set data\.source\.labels"):
        saved(tmp_path, pictures(), labels=tmp_path / "none.npy")


def test_the_fingerprint_tells_pictures_and_labels() -> None:
    base = ArraySource.of(pictures(), labels=[0, 1, 0, 1, 0, 1])
    same = ArraySource.of(pictures(), labels=[0, 1, 0, 1, 0, 1])
    changed = pictures()
    changed[4, 0, 0, 0] ^= 1
    assert base.fingerprint() == same.fingerprint()
    assert base.fingerprint() != ArraySource.of(changed, [0, 1, 0, 1, 0, 1]).fingerprint()
    assert base.fingerprint() != ArraySource.of(pictures(), [0, 1, 0, 1, 1, 0]).fingerprint()


def test_worker_processes_read_a_mapped_file(tmp_path: Path) -> None:
    source = saved(tmp_path, pictures(8))
    view = RandomView(RandomView.Settings(size=8))

    def masks(size: int, random: Any) -> MaskIndices:
        return MaskIndices(torch.zeros(size, 1, 1).long(), torch.zeros(size, 1, 1).long())

    with TrainingStream(
        source, view, masks, seed=0, batch_size=4, total_steps=2, num_workers=1
    ) as stream:
        seen = torch.cat([batch.indices for (batch,) in stream])
    assert sorted(seen.tolist()) == list(range(8))
