"""Any source, decoded once into one file on disk that all processes read without copying."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from torch.utils.data import Dataset

from jepakit.core.files import wait_for_lock
from jepakit.data.shrinking import resized, shrunk_size
from jepakit.data.sources.source import BrokenPicture, Picture, Pixels, Sample, Source
from jepakit.data.workers import Workers, is_stopping

_log = logging.getLogger(__name__)
_CHUNK = 32  # pictures handed over at once
_NUM_SPOT_CHECKS = 4
Progress = Callable[[int, int], None]  # (pictures done, pictures in all)


class DecodedSource(Source):
    """The same pictures, decoded; if `shorter_side` is given, shrunk to it where they are larger.

    Two files in `folder`, named by the source's fingerprint: the pixels, and (written last) where
    each picture lies. They are used again if they are complete and a few pictures compare equal.
    """

    def __init__(
        self,
        source: Source,
        folder: Path,
        shorter_side: int | None = None,
        num_workers: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self._source = source
        self._shorter_side = shorter_side
        self.num_channels = source.num_channels
        self.classes = source.classes
        self.tasks = source.tasks
        key = f"{source.fingerprint()} {shorter_side} {source.num_channels} {len(source)}"
        stem = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._pixels_file = folder / f"{stem}.pixels"
        self._places_file = folder / f"{stem}.json"
        self._pixels: np.ndarray | None = None
        if not self._is_current():
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{stem}.lock").open("a") as lock:
                wait_for_lock(lock)  # one process of a run decodes, the others wait
                if not self._is_current():
                    self._decode(num_workers, progress or (lambda done, total: None))
                    self._read_places()

    def __len__(self) -> int:
        return len(self._source)

    def sample(self, index: int) -> Sample:
        return Sample(self._mapped(index).copy(), self.name(index), self.label(index))

    def open(self, index: int) -> Picture:
        return Pixels(self._mapped(index))

    def _mapped(self, index: int) -> np.ndarray:
        """The picture where it lies in the file: only for reading."""
        name = self.name(index)
        if name in self._broken:
            raise BrokenPicture(name, self._broken[name])
        if self._pixels is None:
            self._pixels = np.memmap(self._pixels_file, np.uint8, "r").view(np.ndarray)
        height, width = self._sizes[index]
        start = self._starts[index]
        flat = self._pixels[start : start + height * width * self.num_channels]
        return flat.reshape(height, width, self.num_channels)

    def name(self, index: int) -> str:
        return self._source.name(index)

    def label(self, index: int) -> int:
        return self._source.label(index)

    def labels(self, index: int) -> dict[str, int | float]:
        return self._source.labels(index)

    def fingerprint(self) -> str:
        return self._places_file.stem

    @property
    def pictures_per_epoch(self) -> int:
        return self._source.pictures_per_epoch

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
        """The source's own: it may mix."""
        return self._source.order(seed, epoch)

    @property
    def broken(self) -> list[BrokenPicture]:
        """All pictures that cannot be read."""
        return [BrokenPicture(name, reason) for name, reason in self._broken.items()]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_pixels": None}  # every process opens the file itself

    def _is_current(self) -> bool:
        """Whether the files are whole, and a few pictures still decode to what they hold."""
        if not (self._places_file.exists() and self._pixels_file.exists()):
            return False
        try:
            self._read_places()
        except (ValueError, KeyError) as error:
            _log.warning("%s is damaged (%s): decoding anew", self._places_file, error)
            return False
        ends = self._starts + self._sizes.prod(1) * self.num_channels
        if len(ends) != len(self) or self._pixels_file.stat().st_size != ends[-1]:
            return False
        chosen = np.linspace(0, len(self) - 1, _NUM_SPOT_CHECKS).astype(int).tolist()
        fresh = _Decoder(self._source, self._shorter_side)[chosen]
        return all(
            isinstance(picture, np.ndarray)
            and self.name(index) not in self._broken
            and np.array_equal(self.sample(index).picture, picture)
            for index, picture in zip(chosen, fresh, strict=True)
        )

    def _read_places(self) -> None:
        places = json.loads(self._places_file.read_text(encoding="ascii"))
        self._sizes = np.array(places["sizes"], np.int64).reshape(-1, 2)
        areas = self._sizes.prod(1) * self.num_channels
        self._starts = np.concatenate([[0], areas.cumsum()[:-1]])
        self._broken: dict[str, str] = places["broken"]

    def _decode(self, num_workers: int, progress: Progress) -> None:
        chunks = [
            list(range(start, min(start + _CHUNK, len(self))))
            for start in range(0, len(self), _CHUNK)
        ]
        sizes: list[tuple[int, int]] = []
        broken: dict[str, str] = {}
        workers = Workers(_Decoder(self._source, self._shorter_side), chunks, num_workers)
        beside = self._pixels_file.with_suffix(f".{os.getpid()}.part")
        try:
            with beside.open("wb") as file:
                for picture in (picture for chunk in workers for picture in chunk):
                    if isinstance(picture, BrokenPicture):
                        broken[picture.name] = picture.reason
                        sizes.append((0, 0))
                    else:
                        file.write(picture.tobytes())
                        sizes.append(picture.shape[:2])
                    progress(len(sizes), len(self))
            self._places_file.unlink(missing_ok=True)  # never new pixels with old places
            os.replace(beside, self._pixels_file)
        finally:
            workers.close()
            beside.unlink(missing_ok=True)
        beside.write_text(json.dumps({"sizes": sizes, "broken": broken}), encoding="ascii")
        os.replace(beside, self._places_file)
        self._pixels = None


class _Decoder(Dataset):
    """Decodes a few pictures; a broken one gives its `BrokenPicture` instead."""

    def __init__(self, source: Source, shorter_side: int | None) -> None:
        self._source = source
        self._shorter_side = shorter_side

    def __getitem__(self, indices: list[int]) -> list[np.ndarray | BrokenPicture]:
        return [self._decode(index) for index in indices if not is_stopping()]

    def _decode(self, index: int) -> np.ndarray | BrokenPicture:
        try:
            picture = self._source.sample(index).picture
        except BrokenPicture as error:
            return error
        size = shrunk_size((picture.shape[0], picture.shape[1]), self._shorter_side)
        return resized(picture, size) if size else picture
