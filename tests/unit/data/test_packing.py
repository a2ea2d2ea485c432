"""Packing: the same pictures in deterministic shards, continued, fitted, refused and verified."""

from __future__ import annotations

import csv
import gc
import io
import json
import re
import resource
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepakit.core.errors import RunFailed
from jepakit.data.packing import PackedFolder, Packing, verify
from jepakit.data.packing import fitting as fitting_module
from jepakit.data.sources.image_folder import ImageFolder
from jepakit.data.sources.pack_description import PackDescription
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.table import Table
from jepakit.data.sources.tar_index import TarIndex

NUM = 40


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """JPEG and PNG photographs-like noise, 48 x 64 and 24 x 30, in two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(NUM):
        place = folder / f"class-{number % 2}"
        place.mkdir(exist_ok=True)
        size = (48, 64) if number % 4 else (24, 30)
        small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)
        image.save(place / f"{number:03}{'.JPEG' if number % 3 else '.png'}", quality=90)
    return folder


def open_folder(folder, **settings):
    return ImageFolder(ImageFolder.Settings(path=folder, index_cache=False, **settings))


def pack(parts, out, num_workers=0, progress=lambda done, total: None, share=0.01, **settings):
    named = parts if isinstance(parts, dict) else {"all": parts}
    packing = Packing(Packing.Settings(**settings), named, out, num_workers)
    return packing.run(progress, share)


def contents(out):
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def members(out):
    found = {}
    for shard in sorted(out.glob("*.tar")):
        with tarfile.open(shard) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    return found


def index(out):
    return [TarIndex.load(file) for file in sorted(out.glob("*.npz"))]


class Stop(Exception):
    pass


def stop_after(number):
    def progress(done, total):
        if done == number:
            raise Stop

    return progress


def test_kept_files_are_the_same_bytes_with_their_labels(pictures, tmp_path):
    source = open_folder(pictures)
    (packed,) = pack(source, tmp_path / "out", shard_bytes=20_000)
    found = members(tmp_path / "out")
    assert len(packed.shards) > 2
    for number in range(NUM):
        name = source.name(number)
        assert found[name] == source.stored(number).content
        assert found[f"{name.rpartition('.')[0]}.cls"] == b"%d" % source.label(number)
    assert len(found) == 2 * NUM
    assert list(found)[::2] == [source.name(number) for number in range(NUM)]


def test_the_description_and_the_indices_fit_the_shards(pictures, tmp_path):
    source = open_folder(pictures)
    out = tmp_path / "out"
    pack(source, out, shard_bytes=20_000)
    packed = PackDescription.load(out / "index.json")
    assert (packed.num_pictures, packed.classes) == (NUM, source.classes)
    assert packed.source == source.fingerprint()
    number = 0
    for shard in packed.shards:
        tar = (out / shard.file).read_bytes()
        assert len(tar) == shard.bytes <= 20_000
        listed = TarIndex.load((out / shard.file).with_suffix(".npz"))
        assert len(listed) == shard.num_pictures
        for place, start in enumerate(listed.offsets):
            content = tar[start : start + listed.sizes[place]]
            assert content == source.stored(number).content
            assert listed.names[place] == source.name(number)
            assert listed.labels[place] == source.label(number)
            assert listed.suffixes[place] == source.stored(number).suffix
            number += 1
    assert number == NUM
    assert not verify(out)


@pytest.mark.parametrize("settings", [{}, {"format": "jpeg", "shorter_side": 32}])
def test_packing_twice_gives_the_same_bytes_with_any_number_of_workers(
    pictures, tmp_path, settings
):
    for name, num_workers in (("a", 0), ("b", 2)):
        pack(open_folder(pictures), tmp_path / name, num_workers, shard_bytes=20_000, **settings)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # it leaves closing to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("settings", [{}, {"format": "jpeg"}, {"format": "png"}])
def test_webdataset_reads_it(pictures, tmp_path, settings):
    webdataset = pytest.importorskip("webdataset")
    source = open_folder(pictures)
    pack(source, tmp_path / "out", shard_bytes=20_000, **settings)
    shards = [str(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    dataset = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("rgb8")
    samples = list(dataset)
    assert len(samples) == NUM
    for number, sample in enumerate(samples):
        assert sample["__key__"] == source.name(number).rpartition(".")[0]
        assert sample["cls"] == source.label(number)
        picture = next(sample[kind] for kind in ("jpeg", "jpg", "png") if kind in sample)
        ours = source.sample(number).picture.astype(int)
        # Two decoders of JPEG round differently; JPEG loses colour where it changes quickly.
        assert np.abs(picture - ours).mean() < (12 if settings.get("format") == "jpeg" else 1)
    del dataset
    gc.collect()


def test_what_a_kill_left_half_written_is_removed(pictures, tmp_path):
    pack(open_folder(pictures), tmp_path / "clean")
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".packing.json.17.part").write_text("{")
    pack(open_folder(pictures), tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "clean")


@pytest.mark.parametrize("stopped_at", [1, 17, NUM])
def test_a_packing_that_was_stopped_goes_on_and_ends_the_same(pictures, tmp_path, stopped_at):
    pack(open_folder(pictures), tmp_path / "whole", shard_bytes=20_000)
    out = tmp_path / "out"
    with pytest.raises(Stop):
        pack(open_folder(pictures), out, progress=stop_after(stopped_at), shard_bytes=20_000)
    assert not (out / "index.json").exists()
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert not list(out.glob(".*.part"))
    (out / ".shard-000001.tar.part").write_bytes(b"what a killed packing leaves")
    (out / "shard-000030.tar").write_bytes(b"a shard that was not noted down")
    seen = []
    with pytest.raises(Stop):  # stopped once more at once: that loses nothing
        pack(open_folder(pictures), out, progress=stop_after(NUM), shard_bytes=20_000)
    pack(
        open_folder(pictures),
        out,
        progress=lambda done, total: seen.append((done, total)),
        shard_bytes=20_000,
    )
    assert contents(out) == contents(tmp_path / "whole")
    assert seen[-1] == (NUM, NUM)
    assert seen[0][0] > min(stopped_at, 16)
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == finished


def test_what_is_packed_already_is_found_at_once(pictures, tmp_path):
    source = open_folder(pictures)
    packing = Packing(Packing.Settings(), {"all": source}, tmp_path / "out")
    assert packing.finished() is None
    packed = packing.run(lambda done, total: None)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert Packing(Packing.Settings(), {"all": source}, tmp_path / "out").finished() == packed
    assert pack(source, tmp_path / "out", progress=stop_after(1)) == packed
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("is_finished", [True, False])
def test_other_settings_and_other_pictures_are_refused(pictures, tmp_path, is_finished):
    out = tmp_path / "out"
    source = open_folder(pictures)
    if is_finished:
        pack(source, out, shard_bytes=20_000)
    else:
        with pytest.raises(Stop):
            pack(source, out, progress=stop_after(20), shard_bytes=20_000)
    with pytest.raises(ValueError, match="with shorter_side=None instead of 32: give another"):
        pack(source, out, shorter_side=32, shard_bytes=20_000)
    with pytest.raises(ValueError, match="holds other pictures"):
        pack(open_folder(pictures / "class-0"), out, shard_bytes=20_000)


def test_a_shard_that_was_removed_is_noticed(pictures, tmp_path):
    pack(open_folder(pictures), tmp_path / "out", shard_bytes=20_000)
    (tmp_path / "out" / "shard-000001.tar").unlink()
    with pytest.raises(ValueError, match=r"shard-000001\.tar is not as it was packed: remove"):
        pack(open_folder(pictures), tmp_path / "out", shard_bytes=20_000)


def test_pictures_without_files_become_png(tmp_path):
    scenes = ProceduralScenes(ProceduralScenes.Settings(num_pictures=5, size=32))
    (packed,) = pack(scenes, tmp_path / "out")
    assert packed.tasks == dict(scenes.tasks)
    for index, picture in enumerate(decoded(tmp_path / "out")):
        np.testing.assert_array_equal(picture, scenes.sample(index).picture)
    found = members(tmp_path / "out")
    assert json.loads(found["scene-000003.json"]) == scenes.labels(3)
    assert "scene-000003.png" in found


def test_folders_with_other_files_are_refused(pictures, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    source = open_folder(pictures)
    for parts in ({"all": source}, {"train": source, "val": source}):
        with pytest.raises(ValueError, match="holds other files"):
            pack(parts, tmp_path)
    pack(source, tmp_path / "out")
    with pytest.raises(ValueError, match="holds other files"):
        pack({"train": source, "val": source}, tmp_path / "out")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_two_processes_do_not_pack_into_one_folder(pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'a+'); fcntl.lockf(file, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(out / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another process is packing into"):
            pack(open_folder(pictures), out)
        other.stdin.close()
    pack(open_folder(pictures), out)
    assert sorted(path.name for path in out.iterdir()) == [
        *("index.json", "shard-000000.npz", "shard-000000.tar")
    ]


def test_parts_get_folders_of_their_own(pictures, tmp_path):
    parts = {"train": open_folder(pictures), "val": open_folder(pictures / "class-0")}
    seen = []
    packed = pack(parts, tmp_path / "out", progress=lambda *done: seen.append(done))
    assert [part.num_pictures for part in packed] == [NUM, NUM // 2]
    assert seen == [(done, NUM + NUM // 2) for done in range(1, NUM + NUM // 2 + 1)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train", "val"]
    assert not verify(tmp_path / "out")


@pytest.fixture
def partly_broken(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / f"{number:02}.png")
    (folder / "05.png").write_bytes(b"torn")
    (folder / "19.png").write_bytes((folder / "18.png").read_bytes()[:-30])
    return folder


def test_broken_pictures_are_left_out_and_listed(partly_broken, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RunFailed, match=r"1 of 20 pictures cannot be read .*--max-broken-share"):
        pack(open_folder(partly_broken), out, shard_bytes=8000)
    with pytest.raises(Stop):
        pack(open_folder(partly_broken), out, share=0.1, shard_bytes=8000, progress=stop_after(18))
    (packed,) = pack(open_folder(partly_broken), out, share=0.1, shard_bytes=8000)
    assert packed.num_pictures == sum(shard.num_pictures for shard in packed.shards) == 18
    assert not {"05.png", "19.png"} & members(out).keys()
    rows = list(csv.reader((out / "broken_pictures.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["name", "05.png", "19.png"]
    assert rows[1][1] == "not a picture in a known format"
    assert PackedFolder(out).num_broken() == 2


def test_nothing_but_broken_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"torn")
    with pytest.raises(RunFailed, match="none of 1 pictures can be read"):
        pack(open_folder(tmp_path), tmp_path / "out", share=1.0)
    assert not (tmp_path / "out" / "index.json").exists()


def test_without_the_check_files_are_copied_unseen(partly_broken, tmp_path):
    pack(open_folder(partly_broken), tmp_path / "out", check=False)
    assert members(tmp_path / "out")["05.png"] == b"torn"


def test_nothing_is_lost_by_other_settings_before_the_first_shard(pictures, tmp_path):
    with pytest.raises(Stop):
        pack(open_folder(pictures), tmp_path / "out", progress=stop_after(2))
    (packed,) = pack(open_folder(pictures), tmp_path / "out", shorter_side=20)
    assert packed.settings["encoding"]["shorter_side"] == 20


def decoded(out):
    return [
        np.asarray(Image.open(io.BytesIO(content)))
        for name, content in members(out).items()
        if not name.endswith((".cls", ".json"))
    ]


def test_shrinking_leaves_small_pictures_as_they_are(pictures, tmp_path):
    source = open_folder(pictures)
    pack(source, tmp_path / "out", shorter_side=30)
    found = members(tmp_path / "out")
    for number, picture in enumerate(decoded(tmp_path / "out")):
        before = source.sample(number).picture
        if before.shape[0] == 24:
            assert found[source.name(number)] == source.stored(number).content
        else:
            assert picture.shape == (30, 40, 3)
            smaller = Image.fromarray(before).resize((40, 30), Image.Resampling.BILINEAR)
            assert np.abs(picture - np.asarray(smaller).astype(int)).mean() < 6
    assert sorted(found) == sorted(members_of_kept(pictures, tmp_path))


def members_of_kept(pictures, tmp_path):
    pack(open_folder(pictures), tmp_path / "kept")
    return members(tmp_path / "kept")


def test_png_and_raw_lose_nothing(pictures, tmp_path):
    source = open_folder(pictures)
    expected = [source.sample(number).picture for number in range(NUM)]
    pack(source, tmp_path / "png", format="png")
    pack(source, tmp_path / "raw", format="raw")
    for number, picture in enumerate(decoded(tmp_path / "png")):
        np.testing.assert_array_equal(picture, expected[number])
    raw = [c for name, c in members(tmp_path / "raw").items() if name.endswith(".npy")]
    for number, content in enumerate(raw):
        np.testing.assert_array_equal(np.load(io.BytesIO(content)), expected[number])


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_a_lower_quality_takes_less_room(pictures, tmp_path, kind):
    sizes = []
    for quality in (30, 95):
        pack(open_folder(pictures), tmp_path / f"{quality}", format=kind, quality=quality)
        sizes.append(sum(map(len, members(tmp_path / f"{quality}").values())))
    assert sizes[0] < 0.7 * sizes[1]


def test_a_jpeg_is_not_encoded_anew_to_become_larger(pictures, tmp_path):
    source = open_folder(pictures)
    pack(source, tmp_path / "out", format="jpeg", quality=100)
    found = members(tmp_path / "out")
    jpegs = [n for n in range(NUM) if source.name(n).endswith(".JPEG")]
    sizes = [(len(found[source.name(n)]), len(source.stored(n).content)) for n in jpegs]
    assert all(after <= before for after, before in sizes)
    assert sum(found[source.name(n)] == source.stored(n).content for n in jpegs) > 10


def test_arrays_of_many_channels(tmp_path):
    random = np.random.default_rng(0)
    folder = tmp_path / "bands"
    folder.mkdir()
    for number in range(3):
        values = random.integers(0, 10_000, (20, 30, 12), dtype=np.uint16)
        np.save(folder / f"{number}.npy", values)
    source = open_folder(folder, channels=12, values=(0, 10_000))
    settings = {"channels": 12, "values": (0, 10_000)}
    pack(source, tmp_path / "kept", **settings)
    assert members(tmp_path / "kept")["1.npy"] == (folder / "1.npy").read_bytes()
    pack(source, tmp_path / "small", shorter_side=10, **settings)
    small = np.load(io.BytesIO(members(tmp_path / "small")["1.npy"]))
    assert (small.shape, small.dtype) == ((10, 15, 12), np.uint8)
    with pytest.raises(ValueError, match=r"jpeg holds 1 or 3 channels .* 12: use --format raw"):
        pack(source, tmp_path / "jpeg", format="jpeg", **settings)
    packed = pack(source, tmp_path / "fitted", max_bytes=40_000, **settings)
    assert packed[0].settings["encoding"]["format"] == "raw"


def test_answers_are_kept_in_json_and_in_the_index(pictures, tmp_path):
    rows = ["path,label,age,is_red"]
    source = open_folder(pictures)
    rows += [f"{source.name(n)},{n % 3},{n / 2},{n % 2}" for n in range(NUM)]
    (pictures / "labels.csv").write_text("\n".join(rows))
    table = Table(Table.Settings(path=pictures / "labels.csv"))
    (packed,) = pack(table, tmp_path / "out", shard_bytes=50_000)
    assert packed.tasks == dict(table.tasks)
    assert packed.quantities == table.quantities == ("age",)
    found = members(tmp_path / "out")
    answers = [json.loads(content) for name, content in found.items() if name.endswith(".json")]
    assert answers == [table.labels(number) for number in range(NUM)]
    columns = [part.answers for part in index(tmp_path / "out")]
    for name in ("age", "is_red"):
        joined = np.concatenate([part[name] for part in columns])
        assert joined.tolist() == [table.labels(number)[name] for number in range(NUM)]


def test_names_that_a_shard_cannot_have(tmp_path):
    names = ["a.jpg", "a.png", "b.c.png", "d~1.png", ".x/é ü.png", "long" * 40 + ".png"]
    (tmp_path / "pictures" / ".x").mkdir(parents=True)
    for number, name in enumerate(names):
        Image.new("RGB", (9, 9), (9 * number, 0, 0)).save(tmp_path / "pictures" / name)
    table = tmp_path / "pictures" / "labels.csv"
    table.write_text("\n".join(["path", *names]))
    pack(Table(Table.Settings(path=table)), tmp_path / "out")
    (listed,) = index(tmp_path / "out")
    assert listed.names == names
    found = members(tmp_path / "out")
    keys = [name for name in found if not name.endswith(".json")]
    assert keys[:5] == ["a~0.jpg", "a~1.png", "b_c.png", "d_1.png", "_x/é ü.png"]
    assert json.loads(found["b_c.json"]) == {"name": "b.c.png"}
    assert "long" * 40 + ".json" not in found
    tar = (tmp_path / "out" / "shard-000000.tar").read_bytes()
    for place, name in enumerate(names):
        start, size = listed.offsets[place], listed.sizes[place]
        assert tar[start : start + size] == (tmp_path / "pictures" / name).read_bytes()


def size_of(out):
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


@pytest.mark.parametrize("share", [0.9, 0.8, 0.75])
def test_fitting_into_a_size(pictures, tmp_path, share):
    source = open_folder(pictures)
    pack(source, tmp_path / "whole")
    most = int(share * size_of(tmp_path / "whole"))
    (packed,) = pack(source, tmp_path / "out", max_bytes=most)
    assert 0.7 * most < size_of(tmp_path / "out") <= most
    chosen = packed.settings["encoding"]
    assert chosen["format"] == "jpeg"
    assert chosen["quality"] >= 75


def test_what_fits_is_kept(pictures, tmp_path):
    (packed,) = pack(open_folder(pictures), tmp_path / "out", max_bytes=10**6)
    assert packed.settings["encoding"]["format"] == "keep"


def test_a_wrong_prediction_is_noticed_and_corrected(pictures, tmp_path, monkeypatch):
    # The sample sees the small pictures only; the shards are then too large.
    source = open_folder(pictures)
    pack(source, tmp_path / "whole")
    most = int(0.85 * size_of(tmp_path / "whole"))
    right = fitting_module.Fitting._measure
    monkeypatch.setattr(
        fitting_module.Fitting, "_measure", lambda self, how: 0.8 * right(self, how)
    )
    told = []
    parts = {"train": source, "val": open_folder(pictures / "class-0")}
    both = int(1.5 * most)
    packing = Packing(Packing.Settings(max_bytes=both), parts, tmp_path / "out", tell=told.append)
    packing.run(lambda done, total: None)
    assert 0.6 * both < size_of(tmp_path / "out") <= both
    (first, *_) = (line for line in told if "more than predicted" in line)
    num_packed = int(re.search(r"\((\d+) pictures took", first)[1])
    assert num_packed < NUM + NUM // 2  # it stopped as soon as it was clear
    encodings = [
        json.loads((tmp_path / "out" / part / "index.json").read_text())["settings"]["encoding"]
        for part in parts
    ]
    assert encodings[0] == encodings[1]
    assert not verify(tmp_path / "out")


def test_a_size_that_is_too_small(pictures, tmp_path):
    with pytest.raises(ValueError, match=r"even as jpeg, .*allow that much with --max-bytes"):
        pack(open_folder(pictures), tmp_path / "out", max_bytes=20_000)
    with pytest.raises(ValueError, match="only jpeg and webp have a quality"):
        Packing.Settings(format="png", quality=80)


def test_a_full_disk_ends_it_with_one_sentence_and_finished_shards_stay(pictures, tmp_path):
    pack(open_folder(pictures), tmp_path / "whole", shard_bytes=20_000)
    out = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(Stop):
        pack(open_folder(pictures), out, shard_bytes=20_000, progress=stop_after(20))
    finished = sorted(path.name for path in out.glob("*.tar"))
    assert finished
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(RunFailed, match="there is no room left for"):
            pack(open_folder(pictures), out, shard_bytes=20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in out.glob("*.tar")) == finished
    assert not list(out.glob(".*.part"))
    pack(open_folder(pictures), out, shard_bytes=20_000)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_disk_that_is_really_full(pictures, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(RunFailed, match="there is no room left for"):
            pack(open_folder(pictures), disk / "out", shard_bytes=20_000)
        assert list((disk / "out").glob("*.tar"))
        subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
        pack(open_folder(pictures), disk / "out", shard_bytes=20_000)
        pack(open_folder(pictures), tmp_path / "whole", shard_bytes=20_000)
        assert contents(disk / "out") == contents(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_damaged_shards_are_named(pictures, tmp_path):
    out = tmp_path / "out"
    pack(open_folder(pictures), out, shard_bytes=20_000)
    first, second, third = sorted(out.glob("*.tar"))[:3]
    content = bytearray(first.read_bytes())
    content[1000] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-512])
    third.unlink()
    wrong = verify(out)
    assert wrong.keys() == {first, second, third}
    assert [wrong[file].split()[0] for file in (first, second, third)] == ["has", "has", "is"]
    assert "SHA-256" in wrong[first]
    with pytest.raises(ValueError, match="holds no finished packing"):
        verify(Path(pictures))
