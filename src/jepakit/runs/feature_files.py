"""Features with names and labels as a file for other programs: .parquet, .npy or .safetensors."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jepakit.core.errors import RunFailed
from jepakit.core.files import written_whole
from jepakit.data.broken_pictures import reason_of
from jepakit.data.sources import Source
from jepakit.data.sources.parquet_files import check_pyarrow, write_rows
from jepakit.runs.extraction import Extraction

Described = Mapping[str, Sequence[Any]]  # columns by name
Blocks = Iterable[tuple[Described, np.ndarray]]
_BLOCK = 2**24  # numbers that are written at once: 64 MB
_LENGTH = 8  # bytes, of the length that begins a safetensors file, and of its alignment


@dataclass(frozen=True)
class Table:
    """What is written: columns that describe rows, the rows, and what is known about all."""

    columns: dict[str, str]  # name -> "string", "int64" or "double"
    num_rows: int
    shape: tuple[int, ...]  # of a row
    half: bool  # float16
    blocks: Callable[[], Iterator[tuple[Described, np.ndarray]]]
    about: dict[str, Any]

    @property
    def dtype(self) -> Any:
        """Of the features."""
        return np.float16 if self.half else np.float32

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """Of all features together."""
        return (self.num_rows, *self.shape)


def table_of(extraction: Extraction, half: bool, about: dict[str, Any]) -> Table:
    """Names, labels and answers beside the features of all pictures that can be read."""
    columns = {"name": "string"}
    if len(extraction.splits) > 1:
        columns["split"] = "string"
    for source in extraction.splits.values():
        columns |= _columns_of(source)
    left_out = [
        part.pictures.source.name(part.pictures.indices[place])
        for part, rows in extraction.rows()
        for place in np.flatnonzero(np.isnan(rows[:, 0].numpy())).tolist()
    ]

    at_once = max(1, _BLOCK // math.prod(extraction.shape))

    def blocks() -> Iterator[tuple[Described, np.ndarray]]:
        for part, rows in extraction.rows():
            readable = np.flatnonzero(~np.isnan(rows[:, 0].numpy()))
            for first in range(0, len(readable), at_once):
                some = readable[first : first + at_once]
                indices = [int(part.pictures.indices[place]) for place in some]
                found = [_describe(part.pictures.source, part.split, index) for index in indices]
                values = {name: [row.get(name) for row in found] for name in columns}
                yield values, _cast(rows.numpy()[some], half)

    num_rows = len(extraction) - len(left_out)
    if not num_rows:
        source = next(iter(extraction.splits.values()))
        why = reason_of(source, range(len(source)))
        raise RunFailed(f"none of the {len(extraction)} pictures can be read{why}")
    about = {**about, "num_pictures": num_rows, "left_out": left_out}
    return Table(columns, num_rows, extraction.shape, half, blocks, about)


def _cast(rows: np.ndarray, half: bool) -> np.ndarray:
    if not half:
        return rows
    if np.abs(rows).max() > np.finfo(np.float16).max:
        raise RunFailed("some features are larger than 16 bits can hold: leave --half out")
    return rows.astype(np.float16)


def _columns_of(source: Source) -> dict[str, str]:
    named = {"label": "string"} if source.classes else {}
    answers = source.labels(0) if len(source) else {}
    return named | {name: "string" if name in source.tasks else "double" for name in answers}


def _describe(source: Source, split: str, index: int) -> dict[str, Any]:
    label = source.label(index)
    found: dict[str, Any] = {"name": source.name(index), "split": split}
    if source.classes:
        found["label"] = source.classes[label] if label >= 0 else None
    for name, answer in source.labels(index).items():
        is_class = name in source.tasks
        found[name] = source.tasks[name][int(answer)] if is_class else float(answer)
    return found


def check_kind(out: Path) -> None:
    """`ValueError` before anything is computed for a file that cannot be written."""
    if out.suffix not in WRITERS:
        raise ValueError(
            f"--out {out} is of no known kind: let it end in {', '.join(WRITERS)}, "
            "e.g. features.parquet"
        )
    if out.suffix == ".parquet":
        check_pyarrow()


def write_table(table: Table, out: Path) -> None:
    """Write the file, and what describes it beside it; each whole or not at all."""
    WRITERS[out.suffix](table, out)


def _write_parquet(table: Table, out: Path) -> None:
    about = {"jepakit": json.dumps(table.about), "shape": json.dumps(table.shape)}
    width = math.prod(table.shape)
    with written_whole(out) as beside:
        write_rows(beside, table.columns, width, table.half, table.blocks(), about)


def _write_npy(table: Table, out: Path) -> None:
    with written_whole(out) as beside, beside.open("wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(table.dtype)),
            "fortran_order": False,
            "shape": table.whole_shape,
        }
        np.lib.format.write_array_header_2_0(file, header)
        _write_described(table, out, lambda rows: file.write(rows.tobytes()))


def _write_safetensors(table: Table, out: Path) -> None:
    size = math.prod(table.whole_shape) * np.dtype(table.dtype).itemsize
    header: dict[str, Any] = {
        "__metadata__": {"jepakit": json.dumps(table.about)},
        "features": {
            "dtype": "F16" if table.half else "F32",
            "shape": table.whole_shape,
            "data_offsets": [0, size],
        },
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _LENGTH)
    with written_whole(out) as beside, beside.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH, "little") + text)
        _write_described(table, out, lambda rows: file.write(rows.tobytes()))


def _write_described(table: Table, out: Path, write: Callable[[np.ndarray], Any]) -> None:
    """The rows where they go, and a line about each of them in a `.csv` beside."""
    with (
        written_whole(out.with_name(f"{out.name}.csv")) as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        lines = csv.writer(file)
        lines.writerow(table.columns)
        for described, rows in table.blocks():
            write(rows)
            lines.writerows(zip(*described.values(), strict=True))


WRITERS: dict[str, Callable[[Table, Path], None]] = {
    ".parquet": _write_parquet,
    ".npy": _write_npy,
    ".safetensors": _write_safetensors,
}
