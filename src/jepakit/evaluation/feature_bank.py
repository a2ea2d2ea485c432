"""Features made once: streamed to disk, found again by what made them, continued if interrupted."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from jepakit.core.files import write_text
from jepakit.data.views import RandomView, RepeatableView
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.features import Reading, evaluating
from jepakit.evaluation.picture_evaluation import Tell
from jepakit.evaluation.subject import Pictures, Subject

NUM_LAYERS = 4  # paper, appendix A.2: the last four
_SECONDS_BETWEEN_MARKS = 10

Rows = Iterator[tuple[Float[Tensor, "B D"], Tensor]]  # rows and their places


class FeatureBank:
    """One file of rows per (weights, pictures, views) in `folder`; nothing is held in memory.

    For evaluations a row is the concatenation of the average-pooled tokens of the last four layers,
    the very last one last; else whatever was asked for. A file that is complete is read, one that
    is not is continued. `watch` hears how many of them are made: first, and after each batch.
    """

    def __init__(
        self,
        folder: Path,
        tell: Tell,
        batch_size: int = 256,
        num_workers: int = 1,
        watch: Callable[[int], None] = lambda num_rows: None,
    ) -> None:
        self.folder, self.tell, self.watch = folder, tell, watch
        self.batch_size, self.num_workers = batch_size, num_workers

    def features(
        self,
        subject: Subject,
        pictures: Pictures,
        crops: RandomView.Settings | None = None,
        num_copies: int = 0,
        seed: int = 0,
    ) -> Features:
        """Rows of the pictures' centre views, and of `num_copies` random `crops` of each."""
        reading = last_layers_of(subject)
        rows = self.read(subject, pictures, reading)
        augmented = None
        if num_copies:
            assert crops is not None, "random views need their settings"
            views = [RepeatableView(crops, seed, copy) for copy in range(num_copies)]
            augmented = tuple(self.read(subject, pictures, reading, view) for view in views)
        return Features(rows, pictures.labels, subject.backbone.width, augmented)

    def made(
        self,
        what: str,
        width: int,
        pictures: Pictures,
        make: Callable[[Tensor], Tensor],
        size: tuple[int, int],
    ) -> Float[Tensor, "B D"]:
        """Rows of `width` that `make` computes from uint8 centre views, under the name `what`."""

        def rows(rest: Pictures) -> Rows:
            for views, places in rest.views(size, self.batch_size, self.num_workers):
                yield make(views), places

        return self._stored(self._key(what, pictures, str(size)), what, width, pictures, rows)

    def read(
        self,
        subject: Subject,
        pictures: Pictures,
        reading: Reading,
        view: RepeatableView | None = None,
    ) -> Float[Tensor, "B D"]:
        """What is read of the pictures' centre views, or of other views; tokens are flattened."""
        backbone = subject.backbone
        reading.check(backbone.depth)
        told = f"{reading} {'' if view is None else view.described}"

        def rows(rest: Pictures) -> Rows:
            with torch.no_grad(), evaluating(backbone):
                for views, places in rest.views(
                    subject.size, self.batch_size, self.num_workers, view
                ):
                    inputs = subject.normalise(views.to(subject.device, non_blocking=True))
                    with subject.in_precision():
                        read = reading(backbone, inputs)
                    yield read.flatten(1).cpu(), places

        key = self._key(subject.fingerprint, pictures, f"{subject.size} {subject.precision} {told}")
        width = math.prod(reading.shape(backbone, subject.size))
        return self._stored(key, f"features: {subject.name}", width, pictures, rows)

    def num_safe(self) -> int:
        """Rows of all files in the folder that are safe on the disk."""
        return sum(_marked(mark_file) for mark_file in self.folder.glob("*.json"))

    def _key(self, maker: str, pictures: Pictures, how: str) -> str:
        return hashlib.sha256(f"{maker} {how} {pictures.fingerprint}".encode()).hexdigest()[:24]

    def _stored(
        self,
        key: str,
        told: str,
        width: int,
        pictures: Pictures,
        make: Callable[[Pictures], Rows],
    ) -> Float[Tensor, "B D"]:
        """The rows under `key`: what is missing is made, in the order of the pictures."""
        rows_file, mark_file = (self.folder / f"{key}{end}" for end in (".rows", ".json"))
        num_done = _num_done(rows_file, mark_file, len(pictures), width)
        self.watch(num_done)
        if num_done < len(pictures):
            self.folder.mkdir(parents=True, exist_ok=True)
            rows = np.memmap(
                rows_file, np.float32, "r+" if num_done else "w+", shape=(len(pictures), width)
            )
            rest = pictures.at(torch.arange(num_done, len(pictures)))
            begin = marked = time.monotonic()
            if not num_done:
                rows[:] = np.nan
            for made, places in make(rest):
                rows[num_done + places.numpy()] = made.float().numpy()
                last = num_done + int(places[-1]) + 1
                self.watch(last)
                now = time.monotonic()
                if now - marked > _SECONDS_BETWEEN_MARKS:
                    marked = now
                    _mark(mark_file, rows, last)
                    left = (now - begin) / (last - num_done) * (len(pictures) - last)
                    self.tell(f"{told}: {last:,} of {len(pictures):,}, {left:.0f} s left")
            self.watch(len(pictures))
            _mark(mark_file, rows, len(pictures))
            self.tell(f"{told}: {len(rest):,} pictures in {time.monotonic() - begin:.0f} s")
        found = np.memmap(rows_file, np.float32, "c", shape=(len(pictures), width))
        return torch.from_numpy(found)


def last_layers_of(subject: Subject) -> Reading:
    """What evaluations read: average-pooled tokens of the last four layers, or of all."""
    return Reading(tuple(range(-min(NUM_LAYERS, subject.backbone.depth), 0)))


def _mark(mark_file: Path, rows: np.memmap, num_done: int) -> None:
    """Note how many rows are safe on the disk."""
    rows.flush()
    write_text(mark_file, json.dumps({"rows": num_done}))


def _num_done(rows_file: Path, mark_file: Path, num_rows: int, width: int) -> int:
    """Rows that are safe; 0 if the file is not of this shape."""
    if not (rows_file.exists() and mark_file.exists()):
        return 0
    if rows_file.stat().st_size != 4 * num_rows * width:
        return 0
    return min(num_rows, _marked(mark_file))


def _marked(mark_file: Path) -> int:
    return int(json.loads(mark_file.read_text(encoding="utf-8"))["rows"])
