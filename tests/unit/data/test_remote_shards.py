"""Shards on a server: fetched whole, patiently, once, and never more than the cache may hold."""

import errno
import io
import multiprocessing
import pathlib
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import webdataset

from jepakit.core.errors import RunFailed
from jepakit.core.files import sha256
from jepakit.core.tensors import MaskIndices
from jepakit.data.loader import TrainingStream
from jepakit.data.sources.pack_description import PackDescription, PackedShard
from jepakit.data.sources.shards import download
from jepakit.data.sources.shards.cache import ShardCache
from jepakit.data.sources.shards.download import Downloads
from jepakit.data.sources.shards.order import choose_window, order_by_windows, shuffled_windows
from jepakit.data.sources.shards.shard import Shard
from jepakit.data.sources.tar_scan import scan_tar
from jepakit.data.sources.tar_shards import TarShards
from jepakit.data.views import RandomView


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.01)


class Server:
    """Serves a folder; `faults` are what the next requests for a file meet instead."""

    def __init__(self, folder):
        self.folder, self.faults, self.requests = folder, {}, Counter()
        self.times = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.http.shutdown()
            self.http.server_close()
            thread.join()


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            name = self.path.lstrip("/").partition("?")[0]
            server.requests[name] += 1
            server.times.append(time.monotonic())
            faults = server.faults.get(name, [])
            fault = faults.pop(0) if faults else None
            file = server.folder / name
            if isinstance(fault, tuple):
                self.send_response(fault[0])
                self.send_header("Retry-After", fault[1])
                self.end_headers()
            elif isinstance(fault, int) or not file.is_file():
                self.send_error(fault or 404)
            else:
                self._send(file.read_bytes(), fault)

        def _send(self, content, fault):
            if fault == "slow":
                time.sleep(0.6)
            self.send_response(200)
            if fault != "chunks":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            sent = content[: len(content) // 2] if fault == "cut" else content
            if fault == "other":
                sent = bytes(len(content))
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(sent)

    return Handler


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    with Server(tmp_path / "served").running() as running:
        yield running


def _picture(number):
    return np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def _npy(number):
    content = io.BytesIO()
    np.save(content, _picture(number))
    return content.getvalue()


def _write_shards(folder, sizes):
    number = 0
    for place, size in enumerate(sizes):
        with webdataset.TarWriter(str(folder / f"x-{place}.tar")) as writer:
            for _ in range(size):
                writer.write({"__key__": f"{number:06d}", "npy": _npy(number), "cls": number % 3})
                number += 1


def _pack(folder, sizes):
    _write_shards(folder, sizes)
    shards = []
    for place, size in enumerate(sizes):
        file = folder / f"x-{place}.tar"
        scan_tar(file).save(file.with_suffix(".npz"))
        shards.append(PackedShard(file.name, size, file.stat().st_size, sha256(file)))
    classes = ("cat", "dog", "eel")
    PackDescription(3, classes, {}, (), sum(sizes), "0", {}, tuple(shards)).save(folder)


def _open(path, **settings):
    return TarShards(TarShards.Settings(path=path, retries=2, **settings))


def _assert_pictures(source, num):
    assert len(source) == num
    for index in range(num):
        sample = source.sample(index)
        np.testing.assert_array_equal(sample.picture, _picture(index))
        assert (sample.name, sample.label) == (f"{index:06d}.npy", index % 3)


def test_shards_without_an_index_are_fetched_once(server):
    _write_shards(server.folder, (3, 2))
    _assert_pictures(_open(f"{server.url}/x-{{0..1}}.tar"), 5)
    _assert_pictures(_open(f"{server.url}/x-{{0..1}}.tar"), 5)
    assert (server.requests["x-0.tar"], server.requests["x-1.tar"]) == (1, 1)


def test_of_a_packed_folder_only_the_indices_are_fetched_at_first(server):
    _pack(server.folder, (3, 2))
    source = _open(f"{server.url}/index.json")
    assert server.requests == {"index.json": 1, "x-0.npz": 1, "x-1.npz": 1}
    assert source.classes == ("cat", "dog", "eel")
    assert (len(source), source.name(4), source.label(4)) == (5, "000004.npy", 1)
    fingerprint = source.fingerprint()
    assert server.requests["x-0.tar"] == 0
    _assert_pictures(source, 5)
    again = _open(f"{server.url}/x-{{0..1}}.tar")
    assert again.fingerprint() == fingerprint
    assert server.requests == {
        **{"index.json": 2, "x-0.npz": 1, "x-1.npz": 1, "x-0.tar": 1, "x-1.tar": 1}
    }


def test_parts_of_a_packed_folder_on_a_server(server):
    for part, num in (("train", 3), ("val", 2)):
        (server.folder / part).mkdir()
        _pack(server.folder / part, (num,))
    address = f"{server.url}/index.json"
    assert [len(_open(address, split=split)) for split in (None, "train", "val")] == [3, 3, 2]
    with pytest.raises(ValueError, match=r"neither .*/index\.json nor .*/test/index\.json"):
        _open(address, split="test")


def test_commands(tmp_path):
    _write_shards(tmp_path, (3, 2))
    _assert_pictures(_open(f"pipe:cat {tmp_path}/x-{{0..1}}.tar"), 5)
    with pytest.raises(RunFailed, match=r"3 times over \(the command ended with 1: cat: .*x-9"):
        _open(f"pipe:cat {tmp_path}/x-9.tar")
    with pytest.raises(ValueError, match=r"ended with 127.*not found"):
        _open("pipe:no-such-command-here")
    with pytest.raises(RunFailed, match="it is empty"):
        _open("pipe:true")
    begin = time.monotonic()
    with pytest.raises(RunFailed, match=r"no output for 0\.05 s"):
        _open("pipe:sleep 30", timeout=0.05)
    assert time.monotonic() - begin < 5


def test_half_a_tar_from_a_failing_command_never_counts(tmp_path):
    _write_shards(tmp_path, (3,))
    with pytest.raises(RunFailed, match="ended with 3"):
        _open(f"pipe:cat {tmp_path}/x-0.tar; exit 3", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.tar"))
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize(
    "faults", [[503], [500, 502], [429], ["cut"], ["cut", "slow"], ["chunks"], [(503, "x")]]
)
def test_what_passes(server, faults):
    _write_shards(server.folder, (3,))
    server.faults["x-0.tar"] = list(faults)
    _assert_pictures(_open(f"{server.url}/x-0.tar", timeout=0.3), 3)
    expected = 1 if faults == ["chunks"] else 1 + len(faults)
    assert server.requests["x-0.tar"] == expected


def test_a_slow_server_is_waited_for(server):
    _write_shards(server.folder, (3,))
    server.faults["x-0.tar"] = ["slow"]
    _assert_pictures(_open(f"{server.url}/x-0.tar"), 3)
    assert server.requests["x-0.tar"] == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (503, "the server answers 503"),
        ("cut", "it ended after 10240 of 20480 bytes"),
        ("slow", "no answer in time"),
    ],
)
def test_what_does_not_pass(server, fault, reason):
    _write_shards(server.folder, (3,))
    server.faults["x-0.tar"] = [fault] * 9
    with pytest.raises(
        RunFailed, match=rf"x-0\.tar could not .* 3 times over \({reason}.*same com"
    ):
        _open(f"{server.url}/x-0.tar", timeout=0.2)
    assert server.requests["x-0.tar"] == 3


def test_waits_grow_and_are_what_the_server_asks_for(server, monkeypatch):
    waits = []
    monkeypatch.setattr(download, "_wait", waits.append)
    monkeypatch.setattr(download, "_FIRST_WAIT", 1.0)
    _write_shards(server.folder, (1,))
    server.faults["x-0.tar"] = [503, 503, 503, (429, "40"), (503, "Fri, 01 Jan 2100 00:00:00 GMT")]
    TarShards(TarShards.Settings(path=f"{server.url}/x-0.tar", retries=5))
    for wait, (low, high) in zip(waits[:3], [(0.5, 1), (1, 2), (2, 4)], strict=True):
        assert low <= wait <= high
    assert waits[3:] == [40, 1200]


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_what_is_refused_is_told_at_once(server, code):
    server.faults["x-0.tar"] = [code] * 9
    with pytest.raises(
        ValueError, match=rf"x-0\.tar: the server answers {code} .*data\.source\.path"
    ):
        _open(f"{server.url}/x-0.tar?password=secret")
    assert server.requests["x-0.tar"] == 1


def test_no_server_and_no_address():
    with pytest.raises(RunFailed, match=r"could not be fetched, 3 times over \(Connection refused"):
        _open("http://127.0.0.1:9/x.tar")
    with pytest.raises(ValueError, match="no valid address"):
        _open("http://127.0.0.1:port/x.tar")


def test_passwords_are_not_shown(server):
    with pytest.raises(ValueError, match="404") as error:
        _open(f"{server.url}/none.tar?token=secret")
    assert "secret" not in str(error.value)


def test_a_shard_with_other_content_is_fetched_again(server):
    _pack(server.folder, (3,))
    server.faults["x-0.tar"] = ["other"]
    _assert_pictures(_open(f"{server.url}/index.json"), 3)
    assert server.requests["x-0.tar"] == 2
    (server.folder / "x-0.tar").write_bytes(bytes(10240))
    source = _open(f"{server.url}/index.json", cache=server.folder / "other")
    with pytest.raises(RunFailed, match=r"not what index\.json says"):
        source.sample(0)


def test_a_shard_that_vanishes_in_the_middle(server):
    _pack(server.folder, (3, 2))
    source = _open(f"{server.url}/index.json", window=1)
    (server.folder / "x-1.tar").unlink()
    source.sample(0)
    with pytest.raises(RunFailed, match=r"x-1\.tar: the server answers 404"):
        source.open(4)


def test_a_damaged_remote_tar_is_named_by_its_address(server):
    _write_shards(server.folder, (3,))
    file = server.folder / "x-0.tar"
    file.write_bytes(file.read_bytes()[: scan_tar(file).offsets[2] + 10])
    with pytest.raises(ValueError, match=rf"^{server.url}/x-0\.tar is cut off after 2 whole"):
        _open(f"{server.url}/x-0.tar")
    assert len(_open(f"{server.url}/x-0.tar", allow_cut=True)) == 2


def _cache(folder, max_bytes=1 << 20):
    return ShardCache(folder, max_bytes, Downloads(retries=1, timeout=5.0))


def _sizes(folder):
    sizes = []
    for file in folder.glob("*.tar"):
        with suppress(FileNotFoundError):  # makes room for one that is fetched ahead
            sizes.append(file.stat().st_size)
    return sizes


def test_what_was_used_last_stays(server, tmp_path):
    for name in "abcd":
        (server.folder / f"{name}.tar").write_bytes(name.encode() * 1000)
    shards = {name: Shard(f"{server.url}/{name}.tar") for name in "abcd"}
    cache = _cache(tmp_path / "cache", 3500)
    for name in "abca":
        _read(cache, shards[name])
        time.sleep(0.01)
    assert _read(cache, shards["d"]) == b"d" * 1000
    assert len(_sizes(tmp_path / "cache")) == 3
    for name in "acd":
        _read(cache, shards[name])
    assert server.requests == {"a.tar": 1, "b.tar": 1, "c.tar": 1, "d.tar": 1}
    _read(cache, shards["b"])
    assert server.requests["b.tar"] == 2


def _read(cache, shard):
    with io.FileIO(cache.open(shard)) as file:
        return file.read()


def test_room_that_was_made_is_not_given_twice(server, tmp_path, monkeypatch):
    shards = {name: Shard(f"{server.url}/{name}.tar") for name in "abcd"}
    for name in shards:
        (server.folder / f"{name}.tar").write_bytes(bytes(1000))
    cache = _cache(tmp_path / "cache", 2000)
    for name in "ab":
        cache.fetch(shards[name])
        time.sleep(0.01)
    make_room = ShardCache._make_room

    def another_comes(self, shard, needed):
        make_room(self, shard, needed)
        if shard is shards["c"]:
            cache.fetch(shards["d"])  # after room was made for c, before c lies there

    monkeypatch.setattr(ShardCache, "_make_room", another_comes)
    cache.fetch(shards["c"])
    assert sorted(path.name for path in (tmp_path / "cache").glob("*.tar")) == sorted(
        cache.path(shards[name]).name for name in "cd"
    )


@pytest.mark.parametrize("fault", ["chunks", None])
def test_a_shard_larger_than_the_cache(server, tmp_path, fault):
    (server.folder / "a.tar").write_bytes(bytes(5000))
    server.faults["a.tar"] = [fault]
    with pytest.raises(ValueError, match="cache_bytes to at least 10000"):
        _cache(tmp_path / "cache", 4000).open(Shard(f"{server.url}/a.tar"))
    assert _sizes(tmp_path / "cache") == []


def test_what_an_interrupted_process_left_makes_room(server, tmp_path):
    (server.folder / "a.tar").write_bytes(bytes(3000))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "other.part").write_bytes(bytes(2000))
    assert len(_read(_cache(tmp_path / "cache", 4000), Shard(f"{server.url}/a.tar"))) == 3000
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_full_disk(server, tmp_path, monkeypatch):
    (server.folder / "a.tar").write_bytes(bytes(3000))

    class FullDisk(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = pathlib.Path.open

    def open_path(path, mode="r", *args, **options):
        return FullDisk(path, "r+") if mode == "r+b" else opened(path, mode, *args, **options)

    monkeypatch.setattr(pathlib.Path, "open", open_path)
    with pytest.raises(RunFailed, match=r"the disk of .*cache is full: .*data\.source\.cache"):
        _cache(tmp_path / "cache").open(Shard(f"{server.url}/a.tar"))
    assert server.requests["a.tar"] == 1
    assert list((tmp_path / "cache").glob("*.part")) == []


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (server.folder / "a.tar").write_bytes(bytes(3000))
    (tmp_path / "file").touch()
    with pytest.raises(RunFailed, match=r"file/cache cannot be written .*data\.source\.cache"):
        _cache(tmp_path / "file" / "cache").open(Shard(f"{server.url}/a.tar"))


def test_processes_fetch_a_shard_once(server, tmp_path):
    (server.folder / "a.tar").write_bytes(b"x" * 3000)
    server.faults["a.tar"] = ["slow"]
    cache, shard = _cache(tmp_path / "cache"), Shard(f"{server.url}/a.tar")
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.starmap(_read, [(cache, shard)] * 3) == [b"x" * 3000] * 3
    assert server.requests["a.tar"] == 1


def test_threads_fetch_a_shard_once(server, tmp_path):
    (server.folder / "a.tar").write_bytes(b"x" * 3000)
    server.faults["a.tar"] = ["slow"]
    cache, shard = _cache(tmp_path / "cache"), Shard(f"{server.url}/a.tar")
    ahead = threading.Thread(target=cache.fetch, args=(shard,))
    ahead.start()
    while not server.requests["a.tar"]:
        time.sleep(0.01)
    cache.fetch(shard, wait=False)
    assert _sizes(tmp_path / "cache") == []
    assert _read(cache, shard) == b"x" * 3000
    ahead.join()
    assert server.requests["a.tar"] == 1


def test_a_fork_while_a_thread_holds_a_lock(server, tmp_path):
    (server.folder / "a.tar").write_bytes(b"x" * 3000)
    server.faults["a.tar"] = ["slow"]
    cache, shard = _cache(tmp_path / "cache"), Shard(f"{server.url}/a.tar")
    ahead = threading.Thread(target=cache.fetch, args=(shard,))
    ahead.start()
    while not server.requests["a.tar"]:
        time.sleep(0.01)
    process = multiprocessing.get_context("fork").Process(target=_read, args=(cache, shard))
    process.start()
    process.join(10)
    assert process.exitcode == 0
    ahead.join()
    assert server.requests["a.tar"] == 1


def test_windows_hold_all_shards_once():
    windows = shuffled_windows(np.arange(10), 4, seed=1, epoch=2)
    assert sorted(np.concatenate(windows)) == list(range(10))
    assert [len(window) for window in windows] == [4, 3, 3]
    again = shuffled_windows(np.arange(10), 4, seed=1, epoch=2)
    other = shuffled_windows(np.arange(10), 4, seed=1, epoch=3)
    assert [w.tolist() for w in windows] == [w.tolist() for w in again]
    assert [w.tolist() for w in windows] != [w.tolist() for w in other]
    shard_of = np.repeat(np.arange(10), 5)
    order = order_by_windows(windows, shard_of, seed=1, epoch=2)
    assert sorted(order) == list(range(50))
    begin = 0
    for window in windows:
        part = shard_of[order[begin : begin + 5 * len(window)]]
        assert set(part) == set(window)
        assert len(set(part[:8])) > 1
        begin += 5 * len(window)


def test_two_windows_fit_in_the_cache():
    assert choose_window(100, longest=10) == 5
    assert choose_window(10_000, longest=10) == 8
    assert choose_window(15, longest=10) == 1


def _draw_masks(batch_size, random):
    place = torch.zeros(batch_size, 1, 1, dtype=torch.int64)
    return MaskIndices(place, place + 1)


def _batches(source, **options):
    options = {"seed": 3, "batch_size": 6, **options}
    view = RandomView(RandomView.Settings(size=8))
    with TrainingStream(source, view, _draw_masks, **options) as stream:
        return [batch.indices.tolist() for (batch,) in stream]


def test_a_small_cache_is_enough_and_each_shard_comes_once_per_epoch(server, tmp_path):
    _pack(server.folder, (4,) * 9)
    size = (server.folder / "x-0.tar").stat().st_size
    cache = tmp_path / "cache"
    source = _open(f"{server.url}/index.json", window=2, cache=cache, cache_bytes=4 * size)
    batches = _batches(source, total_steps=6)
    assert sorted(i for batch in batches for i in batch) == list(range(36))
    assert len(_sizes(cache)) <= 4
    fetched = [server.requests[f"x-{n}.tar"] for n in range(9)]
    assert min(fetched) >= 1
    assert sum(fetched) <= 9 + 2  # two may belong to the next epoch
    assert _batches(source, start_step=4, total_steps=6) == batches[4:]


def test_remote_ranks_and_workers_share_an_epoch(server, tmp_path):
    _pack(server.folder, (7, 1, 5, 5))
    size = (server.folder / "x-0.tar").stat().st_size
    source = _open(f"{server.url}/index.json", window=2, cache_bytes=4 * size)
    ranks = [
        _batches(source, rank=rank, world_size=3, num_workers=2, total_steps=3) for rank in range(3)
    ]
    seen = Counter(i for rank in ranks for indices in rank for i in indices)
    assert seen == Counter(range(18))
    assert all(server.requests[f"x-{n}.tar"] == 1 for n in range(4))


def test_the_next_shards_are_fetched_ahead(server):
    _pack(server.folder, (2,) * 6)
    source = _open(f"{server.url}/index.json", window=2)
    order = source.order(3, 0)
    source.open(int(order[0]))
    coming = sorted({int(index) // 2 for index in order[:8]})
    deadline = time.monotonic() + 10
    while any(not server.requests[f"x-{n}.tar"] for n in coming) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [n for n in range(6) if server.requests[f"x-{n}.tar"]] == coming


def test_a_failed_fetch_reaches_the_training(server):
    _pack(server.folder, (6, 6))
    source = _open(f"{server.url}/index.json")
    server.faults["x-0.tar"] = [503] * 99
    with pytest.raises(RunFailed, match="same command continues"):
        _batches(source, total_steps=2, num_workers=1)
