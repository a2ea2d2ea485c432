"""Tars on disk: like the folder that was put in them, WebDataset's shards, and packed folders."""

import io
import json
import logging
import multiprocessing
import os
import pickle
import tarfile
from collections import Counter

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from jepakit.core.errors import RunFailed
from jepakit.core.files import sha256
from jepakit.core.tensors import MaskIndices
from jepakit.data.loader import TrainingStream
from jepakit.data.sources.image_folder import ImageFolder
from jepakit.data.sources.pack_description import PackDescription, PackedShard
from jepakit.data.sources.shards.places import find_shards
from jepakit.data.sources.shards.shard import expand_braces
from jepakit.data.sources.source import BrokenPicture
from jepakit.data.sources.tar_scan import scan_tar
from jepakit.data.sources.tar_shards import TarShards
from jepakit.data.views import RandomView


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def _shards(path, **settings):
    return TarShards(TarShards.Settings(path=path, **settings))


def _picture(number):
    return np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def _encoded(number, ending="png"):
    content = io.BytesIO()
    if ending == "npy":
        np.save(content, _picture(number))
    else:
        Image.fromarray(_picture(number)).save(content, ending)
    return content.getvalue()


def _write_folder(folder, names):
    for number, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_encoded(number, file.suffix[1:]))


def _tar_of(folder, file, inside="."):
    with tarfile.open(file, "w") as tar:
        tar.add(folder, inside)
    return file


def _write_shards(folder, sizes, ending="png"):
    """WebDataset's own writer: `sizes` pictures per shard, labelled 0, 1, 2, 0, …"""
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for place, size in enumerate(sizes):
        with webdataset.TarWriter(str(folder / f"part-{place:02d}.tar")) as writer:
            for _ in range(size):
                content = {ending: _encoded(number, ending), "cls": number % 3}
                writer.write({"__key__": f"{number:06d}", **content})
                number += 1
    return folder


_FLAT = ["10.png", "9.png", "a.npy", "B.png"]
_CLASSES = [f"{name}/{n}.png" for name in ("10", "9", "cat's", "ü") for n in (1, 10, 2)]
_PARTS = [f"{part}/{name}/{n}.png" for part in ("train", "Val") for name in "ab" for n in range(2)]


@pytest.mark.parametrize("names", [_FLAT, _CLASSES, [*_CLASSES, "beside.png"]])
@pytest.mark.parametrize("inside", [".", "photos"])
def test_a_tar_of_a_folder_is_that_folder(tmp_path, names, inside):
    _write_folder(tmp_path / "folder", names)
    folder = ImageFolder(ImageFolder.Settings(path=tmp_path / "folder"))
    tar = _shards(_tar_of(tmp_path / "folder", tmp_path / "a.tar", inside))
    _assert_equal(tar, folder)


@pytest.mark.parametrize("split", [None, "train", "val", "validation"])
@pytest.mark.parametrize("inside", [".", "photos"])
def test_parts_in_a_tar(tmp_path, split, inside):
    _write_folder(tmp_path / "folder", _PARTS)
    folder = ImageFolder(ImageFolder.Settings(path=tmp_path / "folder", split=split))
    tar = _shards(_tar_of(tmp_path / "folder", tmp_path / "a.tar", inside), split=split)
    _assert_equal(tar, folder)
    with pytest.raises(ValueError, match=r"no part 'test': .* one of: val, train"):
        _shards(tmp_path / "a.tar", split="test")


def _assert_equal(tar, folder):
    assert len(tar) == len(folder)
    assert tar.classes == folder.classes
    assert tar.fingerprint() == folder.fingerprint()
    for index in range(len(folder)):
        ours, theirs = tar.sample(index), folder.sample(index)
        assert (ours.name, ours.label) == (theirs.name, theirs.label)
        assert (tar.name(index), tar.label(index)) == (theirs.name, theirs.label)
        np.testing.assert_array_equal(ours.picture, theirs.picture)
    np.testing.assert_array_equal(tar.order(3, 5), folder.order(3, 5))


def test_webdatasets_shards(tmp_path):
    folder = _write_shards(tmp_path / "shards", (4, 3))
    source = _shards(folder)
    assert source.classes == ("0", "1", "2")
    assert [source.name(i) for i in (0, 6)] == ["000000.png", "000006.png"]
    assert [source.label(i) for i in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    for shard, first in (("part-00.tar", 0), ("part-01.tar", 4)):
        with (folder / shard).open("rb") as file:
            opened = [{"url": shard, "stream": file}]
            members = webdataset.tariterators.tar_file_expander(opened)
            samples = list(webdataset.tariterators.group_by_keys(members))
        for index, sample in enumerate(samples, first):
            assert source.stored(index).content == sample["png"]
            assert source.name(index) == sample["__key__"] + ".png"
            assert source.label(index) == int(sample["cls"])


def test_shards_of_webdatasets_shard_writer(tmp_path):
    pattern = str(tmp_path / "set-%04d.tar")
    with webdataset.ShardWriter(pattern, maxcount=2, verbose=0) as writer:
        for number in range(5):
            sample = {
                "__key__": f"x/{number}",
                "jpg": _picture(number),
                "json": {"label": "ab"[number % 2]},
            }
            writer.write(sample)
    source = _shards(f"{tmp_path}/set-{{0000..0002}}.tar")
    assert source.classes == ("a", "b")
    assert [source.label(i) for i in range(5)] == [0, 1, 0, 1, 0]
    assert source.name(4) == "x/4.jpg"
    assert source.sample(4).picture.shape == (12, 16, 3)


def test_names_that_shards_repeat(tmp_path):
    for number, shard in enumerate(("one", "two")):
        with webdataset.TarWriter(str(tmp_path / f"{shard}.tar")) as writer:
            writer.write({"__key__": "0000", "png": _encoded(number), "cls": number})
    source = _shards(tmp_path)
    assert [source.name(i) for i in range(2)] == ["one/0000.png", "two/0000.png"]
    with pytest.raises(ValueError, match=r"one\.tar twice"):
        _shards(f"{tmp_path}/one.tar::{tmp_path}/one.tar")


def _pack(folder, sizes, with_indices=True):
    """A packed folder as `jepa pack` writes it: answers in JSON, labels as numbers."""
    folder.mkdir()
    shards, number = [], 0
    for place, size in enumerate(sizes):
        file = folder / f"shard-{place:06d}.tar"
        with webdataset.TarWriter(str(file)) as writer:
            for _ in range(size):
                answers = {"count": number % 2, "depth": number / 4}
                content = {"npy": _encoded(number, "npy"), "cls": number % 3, "json": answers}
                writer.write({"__key__": f"c/{number}", **content})
                number += 1
        if with_indices:
            scan_tar(file, answers=("count", "depth")).save(file.with_suffix(".npz"))
        shards.append(PackedShard(file.name, size, file.stat().st_size, sha256(file)))
    tasks = {"count": ("few", "many")}
    classes = ("cat", "dog", "eel")
    PackDescription(3, classes, tasks, ("depth",), number, "0", {}, tuple(shards)).save(folder)
    return folder


@pytest.mark.parametrize("with_indices", [True, False])
def test_a_packed_folder(tmp_path, with_indices):
    folder = _pack(tmp_path / "packed", (3, 2), with_indices)
    source = _shards(folder)
    assert source.classes == ("cat", "dog", "eel")
    assert dict(source.tasks) == {"count": ("few", "many")}
    assert source.quantities == ("depth",)
    assert source.labels(3) == {"count": 1, "depth": 0.75}
    assert [type(answer) for answer in source.labels(4).values()] == [int, float]
    np.testing.assert_array_equal(source.sample(4).picture, _picture(4))
    some = _shards(f"{folder}/shard-{{000001..000001}}.tar")
    assert (len(some), some.name(0), some.classes) == (2, "c/3.npy", source.classes)
    assert _shards(folder / "index.json").fingerprint() == source.fingerprint()


def test_arrays_are_not_copied(tmp_path):
    source = _shards(_pack(tmp_path / "packed", (3,)))
    pixels = source.open(1).pixels()
    assert not pixels.flags.owndata
    assert not pixels.flags.writeable
    np.testing.assert_array_equal(pixels, _picture(1))


def test_packed_files_that_do_not_fit(tmp_path):
    folder = _pack(tmp_path / "packed", (3, 2))
    tar, index = folder / "shard-000001.tar", folder / "shard-000001.npz"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:-512])
    with pytest.raises(ValueError, match="not the file that its index describes"):
        _shards(folder)
    tar.unlink()
    with pytest.raises(ValueError, match=r"1 of 2 tar files are missing.*shard-000001\.tar"):
        _shards(folder)
    tar.write_bytes(whole)
    content = index.read_bytes()
    index.write_bytes(content[:100])
    with pytest.raises(ValueError, match=r"shard-000001\.npz is damaged.*remove it"):
        _shards(folder)
    index.unlink()
    assert len(_shards(folder)) == 5


def test_foreign_descriptions_are_left_alone(tmp_path):
    folder = _write_shards(tmp_path / "shards", (2,))
    (folder / "index.json").write_text('{"wids_version": 1, "shardlist": []}')
    assert len(_shards(folder)) == len(_shards(folder / "part-00.tar")) == 2


def test_patterns():
    assert expand_braces("a{8..10}.tar") == ["a8.tar", "a9.tar", "a10.tar"]
    assert expand_braces("a{08..10}") == ["a08", "a09", "a10"]
    assert expand_braces("{x,y}-{0..1}") == ["x-0", "x-1", "y-0", "y-1"]
    assert expand_braces("pipe:awk '{print}'") == ["pipe:awk '{print}'"]


def test_where_tars_are_found(tmp_path):
    def places(path, split=None):
        found = find_shards(str(path), split, lambda url: None)
        return [shard.place.removeprefix(f"{tmp_path}/") for shard in found.shards]

    for name in ("a-10.tar", "a-9.tar", "b.tar", "notes.txt", ".hidden.tar"):
        (tmp_path / name).touch()
    assert places(tmp_path) == ["a-9.tar", "a-10.tar", "b.tar"]
    assert places(f"{tmp_path}/b.tar::{tmp_path}/a-{{9..10}}.tar") == [
        "b.tar",
        "a-9.tar",
        "a-10.tar",
    ]
    for part in ("train", "val"):
        (tmp_path / "parts" / part).mkdir(parents=True)
        (tmp_path / "parts" / part / "0.tar").touch()
        (tmp_path / f"set-{part}-0.tar").touch()
    assert places(tmp_path / "parts") == ["parts/train/0.tar"]
    assert places(tmp_path / "parts", "validation") == ["parts/val/0.tar"]
    assert places(tmp_path) == ["set-train-0.tar"]
    assert places(tmp_path, "val") == ["set-val-0.tar"]
    with pytest.raises(ValueError, match=r"no part 'test'.*train, val"):
        places(tmp_path / "parts", "test")
    with pytest.raises(ValueError, match=r"2 of 3 tar files are missing, e\.g\. .*a-11\.tar"):
        places(f"{tmp_path}/a-{{10..12}}.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no \.tar files"):
        places(tmp_path / "empty")


def test_tars_without_pictures(tmp_path, caplog):
    caplog.set_level(logging.INFO, "jepakit")
    folder = _write_shards(tmp_path / "shards", (2,))
    with tarfile.open(folder / "none.tar", "w"):
        pass
    with pytest.raises(ValueError, match=r"none\.tar holds no pictures"):
        _shards(folder / "none.tar")
    assert len(_shards(folder)) == 2
    assert "1 tar files hold no pictures" in caplog.text


def test_the_index_is_kept_until_the_tar_changes(tmp_path, monkeypatch):
    _write_folder(tmp_path / "folder", _FLAT)
    file = _tar_of(tmp_path / "folder", tmp_path / "a.tar")
    assert len(_shards(file)) == 4
    scan = "jepakit.data.sources.shards.indices.scan_tar"
    with monkeypatch.context() as context:
        context.delattr(scan)
        assert len(_shards(file)) == 4
        with pytest.raises(NameError):
            _shards(file, index_cache=False)
        with pytest.raises(NameError):
            _shards(file, allow_cut=True)
    _write_folder(tmp_path / "folder", ["new.png"])
    _tar_of(tmp_path / "folder", file)
    assert len(_shards(file)) == 5


def test_a_damaged_kept_index_is_built_anew(tmp_path, caplog):
    file = _write_shards(tmp_path, (2,)) / "part-00.tar"
    _shards(file, index_cache=tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(b"torn")
    assert len(_shards(file, index_cache=tmp_path / "kept")) == 2
    assert "built anew" in caplog.text
    assert kept.read_bytes() != b"torn"


@pytest.mark.parametrize("ending", ["png", "npy"])
def test_a_tar_that_shrinks_or_vanishes(tmp_path, ending):
    folder = _write_shards(tmp_path, (4, 4), ending)
    source = _shards(folder)
    source.sample(0)
    with (folder / "part-00.tar").open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(RunFailed, match=r"part-00\.tar cannot be read any more .*shorter"):
        source.sample(3)
    with pytest.raises(RunFailed, match=r"part-00\.tar cannot be read any more .*where it had"):
        pickle.loads(pickle.dumps(source)).open(0)
    (folder / "part-01.tar").unlink()
    with pytest.raises(RunFailed, match=r"part-01\.tar .*No such file.*same command continues"):
        source.open(5)


def test_one_broken_picture_is_not_the_end(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        writer.write({"__key__": "0", "png": _encoded(0)[:100]})
        writer.write({"__key__": "1", "png": _encoded(1)})
    source = _shards(tmp_path)
    with pytest.raises(BrokenPicture, match=r"0\.png"):
        source.sample(0)
    np.testing.assert_array_equal(source.sample(1).picture, _picture(1))


def test_not_too_many_files_are_open(tmp_path, monkeypatch):
    monkeypatch.setattr("jepakit.data.sources.shards.files._MOST_OPEN", 2)
    source = _shards(_write_shards(tmp_path, (1,) * 6, "npy"))
    pictures = [source.open(i).pixels() for i in range(6)]
    assert _num_open_in(tmp_path) == 2
    for number, picture in enumerate(pictures):
        np.testing.assert_array_equal(picture, _picture(number))
    np.testing.assert_array_equal(source.sample(0).picture, _picture(0))


def _num_open_in(folder):
    with os.scandir("/proc/self/fd") as entries:
        links = [os.path.realpath(entry.path) for entry in entries]
    return sum(link.startswith(f"{folder}/") for link in links)


def test_forked_processes_read_the_same(tmp_path):
    source = _shards(_write_shards(tmp_path, (3, 3)))
    source.sample(0)
    context = multiprocessing.get_context("fork")
    with context.Pool(2, initializer=None) as pool:
        sums = pool.map(_Sum(source), range(6))
    assert sums == [int(_picture(number).sum()) for number in range(6)]


class _Sum:
    def __init__(self, source):
        self.source = source

    def __call__(self, index):
        return int(self.source.sample(index).picture.sum())


def _draw_masks(batch_size, random):
    return MaskIndices(
        torch.zeros(batch_size, 1, 1, dtype=torch.int64),
        torch.ones(batch_size, 1, 1, dtype=torch.int64),
    )


def _batches(source, **options):
    options = {"seed": 3, "batch_size": 6, "total_steps": 6, **options}
    view = RandomView(RandomView.Settings(size=8))
    with TrainingStream(source, view, _draw_masks, **options) as stream:
        return [(batch.indices.tolist(), batch.views) for (batch,) in stream]


def test_ranks_and_workers_share_an_epoch_without_duplicates(tmp_path):
    source = _shards(_write_shards(tmp_path, (7, 1, 5, 5)))
    ranks = [_batches(source, rank=r, world_size=3, num_workers=2) for r in range(3)]
    for epoch in (slice(0, 3), slice(3, 6)):
        seen = Counter(i for rank in ranks for indices, _ in rank[epoch] for i in indices)
        assert seen == Counter(range(18))
    resumed = _batches(source, rank=1, world_size=3, start_step=2, num_workers=1)
    for (indices, views), (expected, expected_views) in zip(resumed, ranks[1][2:], strict=True):
        assert indices == expected
        assert torch.equal(views, expected_views)


def test_millions_of_names_stay_small(tmp_path):
    source = _shards(_write_shards(tmp_path, (50,)))
    assert len(pickle.dumps(source)) < 12_000
    assert json.dumps(source.labels(0)) == "{}"
