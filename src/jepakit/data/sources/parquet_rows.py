"""The rows of many Parquet files by their place, read a row group at a time when asked for."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jepakit.data.sources.parquet_files import check_pyarrow, map_table, open_parquet, write_table
from jepakit.data.sources.remote_files import check_protocols, try_again
from jepakit.data.sources.row_group_files import RowGroupFiles

_log = logging.getLogger(__name__)
_NUM_AT_ONCE = 16  # footers
_TOLD_EVERY = 10.0  # seconds


@dataclass(frozen=True)
class RowGroup:
    """Where some successive rows are."""

    file: int  # place in the list of files
    number: int  # within the file
    num_rows: int
    num_bytes: int


class ParquetRows:
    """The rows of Parquet files, local or at URLs, by their place in all of them together.

    What is read is a row group, of which each process keeps the last `num_kept`. What comes from
    a URL is fetched by one process of a machine, and mapped by all from a file in `cache`.
    """

    def __init__(self, files: Sequence[str], num_kept: int, cache: Path) -> None:
        check_pyarrow()
        check_protocols(files)
        self.files = tuple(files)
        self._num_kept = num_kept
        own_folder = hashlib.sha256(repr(self.files).encode()).hexdigest()[:16]
        self._fetched = RowGroupFiles(cache / own_folder, 2 * num_kept)
        self.groups, self.schema = _read_footers(self.files)
        self.starts = np.cumsum([0, *(group.num_rows for group in self.groups)])
        self._forget()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def cell(self, index: int, column: str, columns: Sequence[str]) -> Any:
        """One cell as a Python object; `columns` are read where the row group is not kept yet.

        Raises `RunFailed` if a file cannot be reached any more, and `ValueError` if it is damaged.
        """
        group = int(np.searchsorted(self.starts, index, side="right")) - 1
        table = self._table(group, column, tuple(columns))
        return table[column][index - int(self.starts[group])].as_py()

    def column(self, name: str) -> list[Any]:
        """All values of a column."""
        values: list[Any] = []
        told = time.monotonic()
        for number, group in enumerate(self.groups):
            values += self._read(group, (name,))[name].to_pylist()
            if time.monotonic() - told > _TOLD_EVERY:
                told = time.monotonic()
                _log.info("reading column %s: %d of %d rows", name, len(values), len(self))
            if number + 1 == len(self.groups) or self.groups[number + 1].file != group.file:
                self._handles.pop(group.file, None)
        return values

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": OrderedDict(), "_handles": {}, "_process": -1}

    def _forget(self) -> None:
        """Other processes' files and threads are of no use here."""
        self._kept: OrderedDict[tuple[int, tuple[str, ...]], Any] = OrderedDict()
        self._handles: dict[int, Any] = {}
        self._process = os.getpid()

    def _table(self, number: int, column: str, columns: tuple[str, ...]) -> Any:
        if self._process != os.getpid():
            self._forget()
        key = next((key for key in self._kept if key[0] == number and column in key[1]), None)
        if key is None:
            key, group = (number, columns), self.groups[number]
            is_remote = "://" in self.files[group.file]
            self._kept[key] = (self._fetch if is_remote else self._read)(group, columns)
            while len(self._kept) > self._num_kept:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _fetch(self, group: RowGroup, columns: tuple[str, ...]) -> Any:
        def write(path: Path) -> None:
            write_table(self._read(group, columns), path)

        while True:
            path = self._fetched.path((group, columns), write)
            try:
                return map_table(path)
            except FileNotFoundError:  # another process needed the room
                continue

    def _read(self, group: RowGroup, columns: tuple[str, ...]) -> Any:
        def read() -> Any:
            if group.file not in self._handles:
                if len(self._handles) >= self._num_kept:
                    self._handles.pop(next(iter(self._handles)))
                self._handles[group.file] = open_parquet(self.files[group.file])
            file = self._handles[group.file]
            return file.read_row_group(group.number, columns=list(columns), use_threads=False)

        return try_again(read, self.files[group.file], self._handles.clear)


def _read_footers(files: Sequence[str]) -> tuple[tuple[RowGroup, ...], Any]:
    """The row groups of all files, and the schema that they share."""
    told = time.monotonic()
    groups: list[RowGroup] = []
    schema: Any = None
    with ThreadPoolExecutor(_NUM_AT_ONCE) as threads:
        for number, (metadata, own) in enumerate(threads.map(_footer, files)):
            if schema is None:
                schema = own
            elif own.names != schema.names:
                raise ValueError(
                    f"{files[number]} has other columns than {files[0]}: {', '.join(own.names)}"
                )
            for place in range(metadata.num_row_groups):
                group = metadata.row_group(place)
                groups.append(RowGroup(number, place, group.num_rows, group.total_byte_size))
            if time.monotonic() - told > _TOLD_EVERY:
                told = time.monotonic()
                _log.info("looking at %d of %d Parquet files", number + 1, len(files))
    return tuple(groups), schema


def _footer(file: str) -> tuple[Any, Any]:
    def read() -> tuple[Any, Any]:
        with open_parquet(file) as opened:
            return opened.metadata, opened.schema_arrow

    return try_again(read, file)
