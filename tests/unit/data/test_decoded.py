"""Decoding once: the same pictures, files reused while they fit, shrunk where asked for."""

import multiprocessing
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from jepakit.data.sources.decoded import DecodedSource
from jepakit.data.sources.image_folder import ImageFolder
from jepakit.data.sources.source import BrokenPicture


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(70):
        pixels = random.integers(0, 256, (12 + number % 3, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.bmp")
    return folder


def _source(folder):
    return ImageFolder(ImageFolder.Settings(path=folder, index_cache=False))


def _assert_same(decoded, source):
    assert len(decoded) == len(source)
    for index in range(len(source)):
        np.testing.assert_array_equal(decoded.sample(index).picture, source.sample(index).picture)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pictures_are_the_same(pictures, tmp_path, num_workers):
    seen = []
    decoded = DecodedSource(
        _source(pictures),
        tmp_path / "decoded",
        num_workers=num_workers,
        progress=lambda done, total: seen.append((done, total)),
    )
    _assert_same(decoded, _source(pictures))
    assert seen == [(number, 70) for number in range(1, 71)]
    assert not list((tmp_path / "decoded").glob("*.part"))


def test_files_are_used_again(pictures, tmp_path):
    DecodedSource(_source(pictures), tmp_path / "decoded")
    calls = []
    again = DecodedSource(
        _source(pictures), tmp_path / "decoded", progress=lambda *done: calls.append(done)
    )
    _assert_same(again, _source(pictures))
    assert not calls


def _decode_in_a_process(pictures, folder, ready, told):
    def tell(done, total):
        time.sleep(0.005)  # long enough for the others to come
        told.put(done)

    ready.wait()
    decoded = DecodedSource(_source(pictures), folder, progress=tell)
    _assert_same(decoded, _source(pictures))


def test_of_several_processes_one_decodes_and_the_others_wait(pictures, tmp_path):
    context = multiprocessing.get_context("fork")
    ready, told = context.Barrier(3), context.Queue()
    arguments = (pictures, tmp_path / "decoded", ready, told)
    processes = [context.Process(target=_decode_in_a_process, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    done = [told.get(timeout=30) for _ in range(70)]
    for process in processes:
        process.join(timeout=30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert done == list(range(1, 71))
    assert told.empty()


def test_other_pictures_of_the_same_names_and_sizes_are_noticed(pictures, tmp_path):
    DecodedSource(_source(pictures), tmp_path / "decoded")
    for file in sorted(pictures.iterdir()):
        pixels = 255 - np.asarray(Image.open(file))
        Image.fromarray(pixels).save(file)
    _assert_same(DecodedSource(_source(pictures), tmp_path / "decoded"), _source(pictures))


@pytest.mark.parametrize("damage", ["short", "no pixels", "no places", "bad places"])
def test_incomplete_files_are_made_anew(pictures, tmp_path, damage):
    folder = tmp_path / "decoded"
    DecodedSource(_source(pictures), folder)
    (pixels,), (places,) = folder.glob("*.pixels"), folder.glob("*.json")
    if damage == "short":
        pixels.write_bytes(pixels.read_bytes()[:-5])
    elif damage == "no pixels":
        pixels.unlink()
    elif damage == "no places":
        places.unlink()
    else:
        places.write_text('{"sizes": [[1')
    _assert_same(DecodedSource(_source(pictures), folder), _source(pictures))


def test_broken_pictures_stay_broken(pictures, tmp_path):
    (pictures / "01.bmp").write_bytes(b"torn")
    (pictures / "69.bmp").write_bytes(b"torn")
    for _ in range(2):  # the second time from the files
        decoded = DecodedSource(_source(pictures), tmp_path / "decoded")
        with pytest.raises(BrokenPicture, match=r"01\.bmp"):
            decoded.sample(1)
        np.testing.assert_array_equal(
            decoded.sample(2).picture, _source(pictures).sample(2).picture
        )


def test_nothing_but_broken_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"torn")
    for _ in range(2):
        decoded = DecodedSource(_source(tmp_path), tmp_path / "decoded")
        with pytest.raises(BrokenPicture):
            decoded.sample(0)


def test_shrinking_keeps_the_shape_and_never_enlarges(pictures, tmp_path):
    shutil.copy(pictures / "00.bmp", pictures / "small.bmp")
    Image.new("RGB", (300, 200), "red").save(pictures / "large.png")
    source = _source(pictures)
    decoded = DecodedSource(source, tmp_path / "decoded", shorter_side=100)
    shapes = {decoded.name(i): decoded.sample(i).picture.shape for i in range(len(source))}
    assert shapes["large.png"] == (100, 150, 3)
    assert shapes["small.bmp"] == (12, 20, 3)
    large = next(i for i in range(len(source)) if source.name(i) == "large.png")
    assert (decoded.sample(large).picture == (255, 0, 0)).all()


def test_further_questions_are_passed_on(pictures, tmp_path):
    source = _source(pictures)
    source.tasks = {"shape": ("cube", "ball")}
    source.labels = lambda index: {"shape": index % 2}
    decoded = DecodedSource(source, tmp_path / "decoded")
    assert decoded.tasks == source.tasks
    assert decoded.labels(3) == {"shape": 1}
