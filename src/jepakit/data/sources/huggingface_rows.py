"""The rows of a Hugging Face data set: mapped into memory as a whole, or read when needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from jaxtyping import Int

from jepakit.core.randomness import generator
from jepakit.data.sources.folder_index import cache_root
from jepakit.data.sources.huggingface_columns import Columns
from jepakit.data.sources.huggingface_opening import (
    Wanted,
    features_of,
    find_parquet,
    open_mapped,
    undecoded,
)
from jepakit.data.sources.parquet_rows import ParquetRows


class Rows(ABC):
    """Pictures and labels as they are stored, by row."""

    part: str  # the data set's name for it, e.g. "train"
    features: dict[str, Any]
    reads_quickly: bool  # a whole column without the others

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def take(self, columns: Columns) -> None:
        """Only these columns will be asked for."""

    @abstractmethod
    def picture(self, index: int) -> Any:
        """What is stored: bytes, a path, both by their names, an array, or None.

        Raises `ValueError` if it is damaged, and `RunFailed` if it cannot be reached any more.
        """

    @abstractmethod
    def answer(self, index: int, column: str) -> Any:
        """The value in another column."""

    @abstractmethod
    def values(self, column: str) -> list[Any]:
        """All values of a column."""

    @abstractmethod
    def order(self, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
        """All rows, shuffled: a function of the arguments alone."""

    def described(self) -> str:
        """What is known of all rows at once, to notice changes."""
        return f"{self.part} {len(self)} {self.features}"


class MappedRows(Rows):
    """A data set on this machine's disk."""

    reads_quickly = True

    def __init__(self, wanted: Wanted) -> None:
        self._dataset, self.part = open_mapped(wanted)
        self.features = self._dataset.features.to_dict()

    def __len__(self) -> int:
        return len(self._dataset)

    def take(self, columns: Columns) -> None:
        self._column = columns.picture
        self._pictures = undecoded(self._dataset, columns.picture)
        if columns.dtype:
            self._pictures = self._pictures.with_format("numpy", dtype=np.dtype(columns.dtype))

    def picture(self, index: int) -> Any:
        return self._pictures[index][self._column]

    def answer(self, index: int, column: str) -> Any:
        return self._dataset.select_columns([column])[index][column]

    def values(self, column: str) -> list[Any]:
        table = self._dataset.select_columns([column]).with_format("arrow")[:]
        values: list[Any] = table.column(column).to_pylist()
        return values

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
        return generator(seed, "order", epoch).permutation(len(self))


class StreamedRows(Rows):
    """Parquet files anywhere, of which the row groups that are needed are read.

    What comes over a network lies, while it is needed, in `row-groups` of our cache folder.
    Epochs go through the row groups in random order, `window` of them at a time; the rows of
    these are shuffled together.
    """

    reads_quickly = False

    def __init__(self, wanted: Wanted, window: int) -> None:
        files, self.part = find_parquet(wanted)
        self._window = window
        self._rows = ParquetRows(files, window + 1, cache_root() / "row-groups")
        self.features = features_of(self._rows.schema)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, columns: Columns) -> None:
        if columns.dtype:
            raise ValueError(
                f"the pictures in column {columns.picture!r} are arrays, and only files can be "
                "streamed: set data.source.streaming=false"
            )
        self._column = columns.picture
        self._answers = [*([columns.label] if columns.label else []), *columns.tasks]

    def picture(self, index: int) -> Any:
        return self._rows.cell(index, self._column, [self._column, *self._answers])

    def answer(self, index: int, column: str) -> Any:
        return self._rows.cell(index, column, self._answers)

    def values(self, column: str) -> list[Any]:
        return self._rows.column(column)

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
        random = generator(seed, "order", epoch)
        starts = self._rows.starts
        groups = random.permutation(len(starts) - 1)
        windows = [
            np.concatenate([np.arange(starts[g], starts[g + 1]) for g in some])
            for some in np.split(groups, range(self._window, len(groups), self._window))
        ]
        return np.concatenate([random.permutation(rows) for rows in windows])

    def described(self) -> str:
        sizes = [(group.file, group.num_rows, group.num_bytes) for group in self._rows.groups]
        return f"{super().described()} {sizes}"
