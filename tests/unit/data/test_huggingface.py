"""Data sets in the forms in which Hugging Face keeps them, on disk and streamed over HTTP."""

from __future__ import annotations

import http.server
import io
import pickle
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from jepakit.core.errors import RunFailed
from jepakit.core.tensors import MaskIndices
from jepakit.data.loader import TrainingStream
from jepakit.data.sources import remote_files
from jepakit.data.sources.folder_index import cache_root
from jepakit.data.sources.huggingface import HuggingFace
from jepakit.data.sources.parquet_rows import ParquetRows
from jepakit.data.sources.source import BrokenPicture
from jepakit.data.views import RandomView

FOOTER = 65536  # bytes, read anew by each process
datasets.disable_progress_bars()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def opened(path: Path | str, **settings: Any) -> HuggingFace:
    return HuggingFace(HuggingFace.Settings(path=str(path), **settings))


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (10 + seed % 3, 12, 3), np.uint8)


def png(seed: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(noise(seed)).save(content, "PNG")
    return content.getvalue()


def made(number: int = 12, first: int = 0, **columns: Any) -> datasets.Dataset:
    """Pictures with two columns of classes and one of numbers."""
    rows = range(first, first + number)
    features = {
        "number": datasets.Value("int32"),
        "img": datasets.Image(),
        "coarse_label": datasets.ClassLabel(names=["x", "y", "z"]),
        "fine_label": datasets.ClassLabel(names=["cat", "dog"]),
    }
    content = {
        "number": list(rows),
        "img": [{"bytes": png(row), "path": None} for row in rows],
        "coarse_label": [row % 3 for row in rows],
        "fine_label": [row % 2 for row in rows],
    }
    return datasets.Dataset.from_dict({**content, **columns}, datasets.Features(features))


def write_parts(folder: Path) -> Path:
    """A data set of the Hub's usual layout: row groups of 3 in two files, and a part of one."""
    (folder / "data").mkdir(parents=True)
    for name, first, number in (("train-00000-of-00002", 0, 12), ("train-00001-of-00002", 12, 9)):
        made(number, first).to_parquet(folder / "data" / f"{name}.parquet", batch_size=3)
    made(6, 21).to_parquet(folder / "data" / "validation-00000-of-00001.parquet", batch_size=3)
    return folder


def check_whole(source: HuggingFace, number: int, first: int = 0) -> None:
    """All rows are those of `made`."""
    assert len(source) == number
    assert source.classes == ("cat", "dog")
    assert dict(source.tasks) == {"fine_label": ("cat", "dog"), "coarse_label": ("x", "y", "z")}
    for index in range(number):
        row = first + index
        np.testing.assert_array_equal(source.sample(index).picture, noise(row))
        assert source.label(index) == source.sample(index).label == row % 2
        assert source.labels(index) == {"fine_label": row % 2, "coarse_label": row % 3}
    stored = source.stored(0)
    assert stored is not None
    assert (stored.suffix, stored.content) == (".png", png(first))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_parquet_file(tmp_path: Path, streaming: bool) -> None:
    made().to_parquet(tmp_path / "a.parquet", batch_size=5)
    source = opened(tmp_path / "a.parquet", streaming=streaming)
    check_whole(source, 12)
    assert source.name(7) == "train/000007"
    check_whole(pickle.loads(pickle.dumps(source)), 12)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_of_parts(tmp_path: Path, streaming: bool) -> None:
    folder = write_parts(tmp_path / "set")
    check_whole(opened(folder, streaming=streaming), 21)
    check_whole(opened(folder, streaming=streaming, split="val"), 6, 21)
    with pytest.raises(ValueError, match=r"no part 'test': set .* one of: train, validation"):
        opened(folder, streaming=streaming, split="test")


def test_what_save_to_disk_writes(tmp_path: Path) -> None:
    made().save_to_disk(tmp_path / "one")
    check_whole(opened(tmp_path / "one"), 12)
    parts = datasets.DatasetDict({"train": made(), "test": made(4, 12)})
    parts.save_to_disk(tmp_path / "parts")
    check_whole(opened(tmp_path / "parts"), 12)
    check_whole(opened(tmp_path / "parts", split="test"), 4, 12)


def test_an_arrow_file(tmp_path: Path) -> None:
    made().save_to_disk(tmp_path)
    (file,) = tmp_path.glob("*.arrow")
    check_whole(opened(file), 12)


def test_a_folder_of_pictures_is_read_from_its_files(tmp_path: Path) -> None:
    for number, name in enumerate(("cat/a", "cat/b", "dog/c")):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / f"{name}.png").write_bytes(png(number))
    source = opened(tmp_path)
    assert [source.label(index) for index in range(3)] == [0, 0, 1]
    np.testing.assert_array_equal(source.sample(2).picture, noise(2))
    (tmp_path / "train" / "cat" / "b.png").unlink()
    with pytest.raises(BrokenPicture, match="train/000001: No such file"):
        source.open(1)


def table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("streaming", [False, True])
def test_plain_columns_of_bytes_and_texts(tmp_path: Path, streaming: bool) -> None:
    file = table(
        tmp_path / "a.parquet",
        id=["u", "v", "w", "x"],
        jpg=[png(0), png(1), None, b"no picture"],
        label=["dog", "cat", None, "dog"],
    )
    source = opened(file, streaming=streaming, label_column="label")
    assert (source.classes, source.tasks) == (("cat", "dog"), {})
    assert [source.label(index) for index in range(4)] == [1, 0, -1, 1]
    np.testing.assert_array_equal(source.sample(1).picture, noise(1))
    with pytest.raises(BrokenPicture, match="no picture in this row"):
        source.open(2)
    with pytest.raises(BrokenPicture, match="not a picture"):
        source.open(3)
    found_by_itself = opened(file, streaming=streaming)
    assert found_by_itself.classes == (() if streaming else ("cat", "dog"))


@pytest.mark.parametrize("streaming", [False, True])
def test_stored_paths_begin_at_the_file(tmp_path: Path, streaming: bool) -> None:
    (tmp_path / "a.png").write_bytes(png(4))
    cells = [{"bytes": None, "path": "a.png"}, {"bytes": png(5), "path": "lost.png"}]
    file = table(tmp_path / "a.parquet", picture=cells)
    source = opened(file, streaming=streaming)
    np.testing.assert_array_equal(source.sample(0).picture, noise(4))
    np.testing.assert_array_equal(source.sample(1).picture, noise(5))
    assert (source.classes, source.label(0), source.labels(0)) == ((), -1, {})


@pytest.mark.parametrize(
    "feature",
    [
        datasets.Array3D((3, 9, 8), "uint8"),
        datasets.List(datasets.List(datasets.List(datasets.Value("uint8")))),
    ],
)
def test_arrays(tmp_path: Path, feature: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 9, 8), np.uint8)
    features = datasets.Features({"pixels": feature, "y": datasets.Value("int64")})
    content = {"pixels": list(pixels), "y": [7, 7, 2, 7]}
    datasets.Dataset.from_dict(content, features).save_to_disk(tmp_path / "a")
    source = opened(tmp_path / "a")
    np.testing.assert_array_equal(source.sample(3).picture, pixels[3].transpose(1, 2, 0))
    assert source.stored(0) is None
    assert (source.classes, source.label(3)) == (("2", "7"), 1)
    again = pickle.loads(pickle.dumps(source)).sample(3).picture
    np.testing.assert_array_equal(again, source.sample(3).picture)
    datasets.Dataset.from_dict(content, features).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"are arrays, .* data\.source\.streaming=false"):
        opened(tmp_path / "a.parquet", streaming=True)


def test_holes_in_further_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(coarse_label=[None, *[1] * 11], fine_label=[-1, *[1] * 11]).save_to_disk(tmp_path)
    with caplog.at_level("INFO"):
        source = opened(tmp_path)
    assert "not used: coarse_label, because 1 rows have none" in caplog.text
    assert (source.label(0), source.label(1), source.tasks) == (-1, 1, {})


def test_columns_can_be_named(tmp_path: Path) -> None:
    made().save_to_disk(tmp_path)
    source = opened(tmp_path, label_column="coarse_label")
    assert (source.classes, list(source.tasks)) == (("x", "y", "z"), ["coarse_label", "fine_label"])
    for setting in ("column", "label_column"):
        with pytest.raises(ValueError, match=rf"set data\.source\.{setting} to one of: number"):
            opened(tmp_path, **{setting: "image"})
    with pytest.raises(ValueError, match="'number' holds no pictures"):
        opened(tmp_path, column="number")


def test_an_epoch_streams_nearly_in_order(tmp_path: Path) -> None:
    """Row groups of 3, two at a time: no more than three row groups have ever to be kept."""
    source = opened(write_parts(tmp_path), streaming=True, window=2)
    orders = [source.order(5, epoch) for epoch in range(3)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(21))
        assert [len(set(order[start : start + 6] // 3)) for start in range(0, 18, 6)] == [2, 2, 2]
        assert any((np.diff(order[start : start + 6]) < 0).any() for start in range(0, 18, 6))
    assert len({tuple(order) for order in orders}) == 3
    np.testing.assert_array_equal(opened(tmp_path, streaming=True, window=2).order(5, 1), orders[1])


def test_a_row_group_is_read_once_per_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(write_parts(tmp_path), streaming=True, window=2)
    read: list[int] = []
    original = ParquetRows._read

    def counted(self: ParquetRows, group: Any, columns: Any) -> Any:
        read.append(group)
        return original(self, group, columns)

    monkeypatch.setattr(ParquetRows, "_read", counted)
    for index in source.order(0, 0).tolist():
        source.open(index)
        source.label(index)
    assert len(read) == 7
    rows = source._rows._rows  # type: ignore[attr-defined]
    assert len(rows._kept) == 3


def test_a_label_alone_does_not_read_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(write_parts(tmp_path), streaming=True)
    original = ParquetRows._read

    def checked(self: ParquetRows, group: Any, columns: Any) -> Any:
        assert "img" not in columns
        return original(self, group, columns)

    monkeypatch.setattr(ParquetRows, "_read", checked)
    assert [source.label(index) for index in range(4)] == [0, 1, 0, 1]


def masks(size: int, random: Any) -> MaskIndices:
    return MaskIndices(torch.zeros(size, 1, 1).long(), torch.zeros(size, 1, 1).long())


def steps(source: HuggingFace, **options: Any) -> list[torch.Tensor]:
    view = RandomView(RandomView.Settings(size=8))
    options = {"seed": 1, "batch_size": 4, "total_steps": 7, **options}
    with TrainingStream(source, view, masks, **options) as stream:
        return [batch.views for (batch,) in stream]


@pytest.mark.parametrize("streaming", [False, True])
def test_training_resumes_in_worker_processes(tmp_path: Path, streaming: bool) -> None:
    source = opened(write_parts(tmp_path), streaming=streaming, window=2)
    source.open(0)  # what this process keeps is of no use to others
    whole = steps(source)
    rest = steps(source, start_step=3, num_workers=1)
    assert len(rest) == 4
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], rest, strict=True))


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """A server that gives out parts of files, as those of data sets do."""

    asked: list[int] = []  # noqa: RUF012 - bytes per request

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        wanted = self.headers.get("Range", "").removeprefix("bytes=").split("-")
        first, last = int(wanted[0] or 0), int([*wanted, ""][1] or len(content) - 1)
        part = content[first : last + 1]
        self.asked.append(len(part))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    handler = partial(RangeHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_streaming_over_http(tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    write_parts(tmp_path)
    monkeypatch.setattr(remote_files, "_NUM_TRIES", 1)
    url = f"{served}/data/train-{{00000..00001}}-of-00002.parquet"
    source = opened(url, streaming=True, window=2)
    check_whole(source, 21)
    check_whole(pickle.loads(pickle.dumps(source)), 21)
    whole = steps(source)
    shutil.rmtree(cache_root() / "row-groups")  # the worker needs a connection of its own
    rest = steps(source, start_step=2, num_workers=1)
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], rest, strict=True))


def test_only_what_is_needed_travels(tmp_path: Path, served: str) -> None:
    pytest.importorskip("aiohttp")
    cells = [np.random.default_rng(row).bytes(50_000) for row in range(40)]
    pq.write_table(pa.table({"image": cells}), tmp_path / "a.parquet", row_group_size=4)
    RangeHandler.asked.clear()
    source = opened(f"{served}/a.parquet", streaming=True)
    assert sum(RangeHandler.asked) < 200_000
    for index in (4, 6, 5, 7):
        stored = source.stored(index)
        assert stored is not None
        assert stored.content == cells[index]
    assert sum(RangeHandler.asked) < 450_000


def test_processes_share_what_was_fetched(tmp_path: Path, served: str) -> None:
    """Two workers ask for the same row groups; each travels once, and few are kept."""
    pytest.importorskip("aiohttp")
    made(48).to_parquet(tmp_path / "a.parquet", batch_size=3)
    source = opened(f"{served}/a.parquet", streaming=True, window=2)
    RangeHandler.asked.clear()
    assert len(steps(source, num_workers=2, total_steps=12)) == 12
    assert len([number for number in RangeHandler.asked if number != FOOTER]) == 16
    kept = list((cache_root() / "row-groups").glob("*/*.arrow"))
    assert 3 <= len(kept) <= 6


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    write_parts(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path / "file"))
    source = opened(f"{served}/data/train-00000-of-00002.parquet", streaming=True)
    with pytest.raises(RunFailed, match=r"cannot be written .* JEPAKIT_CACHE"):
        source.open(0)


def test_a_server_that_is_gone(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(remote_files, "_SECONDS_BETWEEN", 0.0)
    write_parts(tmp_path)
    source = opened(f"{served}/data/train-00000-of-00002.parquet", streaming=True)
    monkeypatch.setattr(RangeHandler, "do_GET", lambda self: self.send_error(503))
    with pytest.raises(RunFailed, match=r"cannot be read \(.*\): check the network"):
        source.open(0)
    with pytest.raises(RunFailed, match="is not there"):
        opened(f"{served}/none.parquet", streaming=True)


@pytest.mark.parametrize("streaming", [False, True])
def test_addresses_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    with pytest.raises(ValueError, match="quatsch"):
        opened("quatsch://a.parquet", streaming=streaming)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    known = sys.modules["fsspec.registry"]._registry  # type: ignore[attr-defined]
    monkeypatch.delitem(known, "https", raising=False)
    with pytest.raises(ValueError, match=r"needs more packages .*install"):
        opened("https://somewhere/a.parquet", streaming=streaming)


def test_a_glitch_is_tried_again(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(remote_files, "_SECONDS_BETWEEN", 0.0)
    write_parts(tmp_path)
    source = opened(f"{served}/data/train-00000-of-00002.parquet", streaming=True)
    good, refusals = RangeHandler.do_GET, [1, 1]

    def unsteady(self: RangeHandler) -> None:
        if refusals:
            refusals.pop()
            self.send_error(503)
        else:
            good(self)

    monkeypatch.setattr(RangeHandler, "do_GET", unsteady)
    np.testing.assert_array_equal(source.sample(3).picture, noise(3))
    assert not refusals


def test_a_damaged_file(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    made().to_parquet(file, batch_size=3)
    source = opened(file, streaming=True)
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"\xff" * (len(content) // 2) + content[len(content) // 2 + 4 :])
    with pytest.raises(BrokenPicture, match=r"train/000000: .*damaged"):
        source.open(0)
    file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is of another format, or damaged"):
        opened(file, streaming=True)
    file.unlink()
    with pytest.raises(RunFailed, match="is not there"):
        pickle.loads(pickle.dumps(source)).open(11)


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    table(tmp_path / "train-0.parquet", image=[png(0)])
    table(tmp_path / "train-1.parquet", image=[png(1)], label=[1])
    with pytest.raises(ValueError, match=r"train-1\.parquet has other columns .*: image, label"):
        opened(tmp_path, streaming=True)


def test_the_fingerprint_tells_pictures_and_labels(tmp_path: Path) -> None:
    same = [made(), made(), made(fine_label=[1] * 12), made(first=1)]
    prints = []
    for number, dataset in enumerate(same):
        dataset.save_to_disk(tmp_path / str(number))
        prints.append(opened(tmp_path / str(number)).fingerprint())
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/none/at/all", r"there is no /none/at/all: set data\.source\.path"),
        ("none.parquet", r"there is no none\.parquet: set data\.source\.path"),
        ("a/b/c", "there is no a/b/c"),
    ],
)
def test_paths_that_are_not_there(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opened(path)


def test_other_files_cannot_be_streamed(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(png(0))
    with pytest.raises(ValueError, match=r"not stored as Parquet .* data\.source\.streaming=false"):
        opened(tmp_path, streaming=True)


def test_a_folder_without_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be opened"):
        opened(tmp_path)
    table(tmp_path / "a.parquet", number=[1, 2])
    with pytest.raises(ValueError, match=r"set data\.source\.column to one of: number"):
        opened(tmp_path / "a.parquet")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("is_told", [False, True])
def test_without_a_network_a_name_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, streaming: bool, is_told: bool
) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", is_told)
    begin = time.monotonic()
    with pytest.raises(RunFailed, match="the Hugging Face Hub cannot be reached: check"):
        opened("somebody/pictures", streaming=streaming)
    assert time.monotonic() - begin < 5
    assert huggingface_hub.constants.HF_HUB_OFFLINE is is_told


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'jepakit\[hub\]'"):
        opened("somebody/pictures")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'jepakit\[hub\]'"):
        ParquetRows(["a.parquet"], 1, tmp_path)
