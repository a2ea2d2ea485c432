"""Pictures in tar files, on disk or on a server, read in place: nothing is unpacked."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field, field_validator

from jepakit.data.sources.decoding import Decoding, fingerprint_of_values
from jepakit.data.sources.folder_index import cache_root
from jepakit.data.sources.shards.cache import ShardCache
from jepakit.data.sources.shards.download import Downloads
from jepakit.data.sources.shards.files import ShardFiles
from jepakit.data.sources.shards.indices import ShardIndices
from jepakit.data.sources.shards.order import (
    FetchAhead,
    choose_window,
    order_by_windows,
    shuffled_windows,
)
from jepakit.data.sources.shards.pictures import gather
from jepakit.data.sources.shards.places import Shards, find_shards
from jepakit.data.sources.source import Stored, tell_once
from jepakit.data.sources.stored import StoredSource
from jepakit.data.sources.tar_index import TarIndex

_log = logging.getLogger(__name__)


class TarShards(StoredSource):
    """The pictures of tar files, in the order of the files and of the members in them.

    Three kinds of tars are understood. In a packed folder (`jepa pack`) `index.json` tells the
    classes and further tasks. In WebDataset's shards a picture KEY.jpg has its label in KEY.cls or
    in KEY.json; numbers are the classes "0", "1", …. Any other tar is read like the folder that
    was put in it: sorted by path, the first-level folders are classes, a folder around everything
    is left out, and of the parts train, val and test `split` is used. It has the names, labels and
    fingerprint of an `ImageFolder`. Where shards repeat each other's names, the shard's name is
    put before them.

    Remote shards are fetched whole into a cache on disk, and an epoch mixes the pictures of
    `window` shards at a time. Every machine fetches every shard.
    """

    class Settings(Decoding):
        """Where the tar files are, and how remote ones are fetched."""

        kind: Literal["shards"] = "shards"
        path: str = Field(
            description="a .tar, a folder of them, x-{00..99}.tar, the same at http(s)://, the URL "
            'of a packed index.json, or "pipe:COMMAND"; several with :: between them'
        )
        split: str | None = Field(default=None, description='part to use: "train", "val", …')
        index_cache: bool | Path = Field(default=True, description="keep what was found; or where")
        allow_cut: bool = Field(
            default=False, description="use the pictures before the end of a tar that was cut off"
        )
        cache: Path | None = Field(default=None, description="folder for fetched shards")
        cache_bytes: int = Field(
            default=50 << 30, ge=1, description="disk space for fetched shards"
        )
        window: int | None = Field(
            default=None, ge=1, description="remote shards mixed at a time; null = up to 8"
        )
        retries: int = Field(default=8, ge=0, description="further attempts to fetch a shard")
        timeout: float = Field(default=60, gt=0, description="seconds without an answer")

        @field_validator("path", mode="before")
        @classmethod
        def _as_text(cls, path: Any) -> Any:
            return str(path) if isinstance(path, Path) else path

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        downloads = Downloads(settings.retries, settings.timeout)
        cache_folder = (settings.cache or cache_root() / "shards").expanduser()
        cache = ShardCache(cache_folder, settings.cache_bytes, downloads)
        found = find_shards(settings.path, settings.split, downloads.read_small)
        described = found.description
        self.tasks = described.tasks if described else {}
        self.quantities = described.quantities if described else ()
        answers = (*self.tasks, *self.quantities)
        index_folder = _index_folder(settings.index_cache)
        loading = ShardIndices(index_folder, cache, downloads, answers, settings.allow_cut)
        indices = loading.load(found.shards)
        _tell_unused(settings.path, found, indices)
        self._pictures = gather(found, indices, settings.split)
        self.classes = self._pictures.classes
        lengths = [
            shard.packed.bytes if shard.packed else index.tar_bytes
            for shard, index in zip(found.shards, indices, strict=True)
        ]
        self._files = ShardFiles(found.shards, lengths, cache)
        self.reads_in_order = any(shard.is_remote for shard in found.shards)
        self._ahead = FetchAhead(found.shards, lengths, cache) if self.reads_in_order else None
        self._window = settings.window or choose_window(settings.cache_bytes, max(lengths))
        self._used_shards = np.unique(self._pictures.shard)

    def __len__(self) -> int:
        return len(self._pictures.names)

    def stored(self, index: int) -> Stored:
        pictures = self._pictures
        shard = int(pictures.shard[index])
        if self._ahead and not self._files.is_open(shard):
            self._ahead.reached(shard)
        suffix = pictures.suffixes[pictures.suffix[index]]
        content = self._files.read(shard, int(pictures.offsets[index]), int(pictures.sizes[index]))
        return Stored(content, suffix)

    def name(self, index: int) -> str:
        return self._pictures.names[index]

    def label(self, index: int) -> int:
        return int(self._pictures.labels[index])

    def labels(self, index: int) -> dict[str, int | float]:
        """Places in the classes of `tasks`, and the numbers of `quantities`."""
        answers = self._pictures.answers
        return {
            **{name: int(answers[name][index]) for name in self.tasks},
            **{name: float(answers[name][index]) for name in self.quantities},
        }

    def fingerprint(self) -> str:
        """Changes with names, sizes of files and labels, not with where the tars are."""
        return fingerprint_of_values(self._pictures.fingerprint, self.settings)

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
        """Remote shards are shuffled, then the pictures within windows of a few shards."""
        if self._ahead is None:
            return super().order(seed, epoch)
        now, then = (
            shuffled_windows(self._used_shards, self._window, seed, e) for e in (epoch, epoch + 1)
        )
        self._ahead.follow([*now, then[0]])
        return order_by_windows(now, self._pictures.shard, seed, epoch)


def _index_folder(index_cache: bool | Path) -> Path | None:
    if isinstance(index_cache, bool):
        return cache_root() / "index" if index_cache else None
    return index_cache.expanduser()


def _tell_unused(path: str, found: Shards, indices: list[TarIndex]) -> None:
    num_ignored = sum(index.num_ignored for index in indices)
    if num_ignored:
        tell_once(f"{path}: members that are no pictures are ignored: {num_ignored}")
    empty = [s.shown for s, index in zip(found.shards, indices, strict=True) if not len(index)]
    if empty:
        _log.warning("%d tar files hold no pictures, e.g. %s", len(empty), empty[0])
