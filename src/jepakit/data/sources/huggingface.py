"""Pictures in a Hugging Face data set, of the Hub or on this machine, whole or streamed."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, UInt8
from pydantic import Field

from jepakit.data.sources.array_files import find_layout
from jepakit.data.sources.array_labels import as_classes
from jepakit.data.sources.decoding import Decoding, fingerprint_of_values, fit_array
from jepakit.data.sources.files_or_arrays import FilesOrArrays, picture_suffix
from jepakit.data.sources.huggingface_columns import Columns, find_columns
from jepakit.data.sources.huggingface_opening import Wanted
from jepakit.data.sources.huggingface_rows import MappedRows, Rows, StreamedRows
from jepakit.data.sources.source import BrokenPicture, Stored
from jepakit.data.sources.stored import read_file

_log = logging.getLogger(__name__)
_NUM_HASHED = 64  # pictures


class HuggingFace(FilesOrArrays):
    """The rows of one part of a data set, in their order.

    The column of the label gives `classes`; further columns of classes are `tasks`, and then the
    label is one too, as in a table. A row without a label is unlabelled; a further column with
    holes is left out. Streamed, no more than a few times `window` row groups are kept, and
    epochs go through the row groups so that each is fetched about once.
    """

    class Settings(Decoding):
        """Which data set, which part and columns of it, and whether it is downloaded."""

        kind: Literal["huggingface"] = "huggingface"
        path: str = Field(
            description="name on the Hub, .parquet, .arrow, folder, or URL …-{000..012}.parquet"
        )
        name: str | None = Field(default=None, description="the configuration, if it has several")
        revision: str | None = Field(default=None, description="branch, tag or commit on the Hub")
        split: str | None = Field(
            default=None, description="part to use; null = train, or the only one"
        )
        column: str | None = Field(default=None, description="the pictures; null = found by itself")
        label_column: str | None = Field(
            default=None,
            description="the class; null = found (streamed: if the data set names its classes)",
        )
        streaming: bool = Field(
            default=False, description="read when needed and never keep: for more than the disk"
        )
        window: int = Field(
            default=8, ge=1, description="streaming: row groups whose pictures are shuffled"
        )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.reads_in_order = settings.streaming
        asked = Wanted(settings.path, settings.name, settings.revision, settings.split)
        self._rows: Rows = (
            StreamedRows(asked, settings.window) if settings.streaming else MappedRows(asked)
        )
        if not len(self._rows):
            raise ValueError(f"{settings.path} has no rows in its part {self._rows.part!r}")
        columns = find_columns(self._rows.features, settings.column, settings.label_column)
        if not (columns.classes or settings.label_column or self._rows.reads_quickly):
            columns = columns.without_label()
        self._rows.take(columns)
        self._columns = columns
        local = Path(settings.path).expanduser()
        self._folder = local if local.is_dir() else local.parent  # where stored paths begin
        self._known: dict[str, np.ndarray] = {}  # places in the classes, of all rows
        self.classes = self._take_label(columns)
        self._take_tasks(columns)
        self._fingerprint = self._hash()
        _log.info("%s: pictures in %r, label in %r", settings.path, columns.picture, columns.label)

    def __len__(self) -> int:
        return len(self._rows)

    def stored(self, index: int) -> Stored | None:
        if self._columns.dtype:
            return None
        cell, name = self._cell(index), self.name(index)
        parts = cell if isinstance(cell, dict) else {}
        content = cell if isinstance(cell, bytes) else parts.get("bytes")
        path = cell if isinstance(cell, str) else parts.get("path")
        if content is not None:
            return Stored(content, picture_suffix(path, content))
        if path is None:
            raise BrokenPicture(name, "there is no picture in this row")
        return read_file(self._folder / path, name)

    def array(self, index: int) -> UInt8[np.ndarray, "H W C"]:
        cell, how = self._cell(index), self.settings
        try:
            pixels = np.asarray(cell)
            if find_layout((1, *pixels.shape), "auto", how.channels) == "channels_first":
                pixels = np.moveaxis(pixels, 0, 2)
            return fit_array(pixels, how)
        except (ValueError, IndexError) as error:
            raise BrokenPicture(self.name(index), str(error)) from error

    def name(self, index: int) -> str:
        """The part and the number of the row."""
        return f"{self._rows.part}/{index:06d}"

    def label(self, index: int) -> int:
        return self._place(index, self._columns.label) if self._columns.label else -1

    def labels(self, index: int) -> dict[str, int | float]:
        return {name: self._place(index, name) for name in self.tasks}

    def fingerprint(self) -> str:
        """Changes with the columns, the labels, and some of the pictures."""
        return fingerprint_of_values(self._fingerprint, self.settings)

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
        """All pictures; those that are streamed nearly in the order in which they are stored."""
        return self._rows.order(seed, epoch)

    def _cell(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} does not exist: indices are 0 to {len(self) - 1}")
        try:
            return self._rows.picture(index)
        except ValueError as error:
            raise BrokenPicture(self.name(index), str(error)) from error

    def _content(self, index: int) -> bytes:
        try:
            stored = self.stored(index)
        except BrokenPicture:
            return b"broken"
        return np.asarray(self._cell(index)).tobytes() if stored is None else bytes(stored.content)

    def _place(self, index: int, column: str) -> int:
        if column in self._known:
            return int(self._known[column][index])
        value = self._rows.answer(index, column)
        return -1 if value is None else int(value)

    def _take_label(self, columns: Columns) -> tuple[str, ...]:
        """Sets what is known of the label; returns its classes."""
        if columns.label is None or (columns.classes and not self._rows.reads_quickly):
            return columns.classes
        values = self._rows.values(columns.label)
        is_there = np.array([value is not None for value in values])
        filled = np.array([value for value in values if value is not None])
        places = np.full(len(values), -1)
        if not len(filled):
            return columns.classes
        places[is_there], classes = as_classes(filled, len(filled), columns.classes or None)
        self._known[columns.label] = places
        return classes

    def _take_tasks(self, columns: Columns) -> None:
        tasks: dict[str, tuple[str, ...]] = {}
        for name, classes in columns.tasks.items():
            if self._rows.reads_quickly:
                values = self._rows.values(name)
                holes = sum(value is None or value < 0 for value in values)
                if holes:
                    _log.info("not used: %s, because %d rows have none", name, holes)
                    continue
                self._known[name] = np.array(values, np.int64)
            tasks[name] = classes
        if tasks and columns.label and self.classes and (self._label_is_full()):
            tasks = {columns.label: self.classes, **tasks}
        self.tasks = tasks

    def _label_is_full(self) -> bool:
        known = self._known.get(self._columns.label or "")
        return known is None or bool((known >= 0).all())

    def _hash(self) -> str:
        digest = hashlib.sha256(repr((self._rows.described(), self.classes)).encode())
        for places in self._known.values():
            digest.update(places.tobytes())
        if self._rows.reads_quickly:
            for index in np.linspace(0, len(self) - 1, _NUM_HASHED).astype(int).tolist():
                digest.update(self._content(index))
        return digest.hexdigest()[:16]
