"""Features made once: streamed to disk, found again by what made them, continued if interrupted."""

from __future__ import annotations

import hashlib
import json
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
from jepakit.evaluation.features import evaluating, pooled_layers
from jepakit.evaluation.picture_evaluation import Tell
from jepakit.evaluation.subject import Pictures, Subject

NUM_LAYERS = 4  # paper, appendix A.2: the last four
_SECONDS_BETWEEN_MARKS = 10

Rows = Iterator[tuple[Float[Tensor, "B D"], Tensor]]  # rows and their places


class FeatureBank:
    """One file of rows per (weights, pictures, views) in `folder`; nothing is held in memory.

    A row is the concatenation of the average-pooled tokens of the last four layers, the very last
    one last; of raw pixels, whatever `pixels` was asked to make. A file that is complete is read,
    one that is not is continued.
    """

    def __init__(
        self, folder: Path, tell: Tell, batch_size: int = 256, num_workers: int = 1
    ) -> None:
        self.folder, self.tell = folder, tell
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
        rows = self._rows_of(subject, pictures, None)
        augmented = None
        if num_copies:
            assert crops is not None, "random views need their settings"
            views = [RepeatableView(crops, seed, copy) for copy in range(num_copies)]
            augmented = tuple(self._rows_of(subject, pictures, view) for view in views)
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

    def _rows_of(
        self, subject: Subject, pictures: Pictures, view: RepeatableView | None
    ) -> Float[Tensor, "B D"]:
        backbone = subject.backbone
        width = backbone.width * min(NUM_LAYERS, backbone.depth)
        told = "" if view is None else view.described

        def rows(rest: Pictures) -> Rows:
            with torch.no_grad(), evaluating(backbone):
                for views, places in rest.views(
                    subject.size, self.batch_size, self.num_workers, view
                ):
                    inputs = subject.normalise(views.to(subject.device, non_blocking=True))
                    with subject.in_precision():
                        layers = backbone.last_layers(inputs, NUM_LAYERS)
                    yield pooled_layers(layers).cpu(), places

        key = self._key(subject.fingerprint, pictures, f"{subject.size} {subject.precision} {told}")
        return self._stored(key, f"features: {subject.name}", width, pictures, rows)

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
                now = time.monotonic()
                if now - marked > _SECONDS_BETWEEN_MARKS:
                    marked = now
                    _mark(mark_file, rows, last)
                    left = (now - begin) / (last - num_done) * (len(pictures) - last)
                    self.tell(f"{told}: {last:,} of {len(pictures):,}, {left:.0f} s left")
            _mark(mark_file, rows, len(pictures))
            self.tell(f"{told}: {len(rest):,} pictures in {time.monotonic() - begin:.0f} s")
        found = np.memmap(rows_file, np.float32, "c", shape=(len(pictures), width))
        return torch.from_numpy(found)


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
    return min(num_rows, int(json.loads(mark_file.read_text(encoding="utf-8"))["rows"]))
