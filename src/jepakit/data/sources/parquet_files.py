"""Parquet files, and tables in memory that are files: the one place that knows pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jepakit.data.sources.remote_files import first_line, open_url


def read_texts(file: Path) -> dict[str, list[str]]:
    """The columns of single values of a table, as text; empty where there is none."""
    pyarrow = _pyarrow()
    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{file} is not a Parquet file ({first_line(error)}): write it anew"
        ) from None
    return {
        name: [_text(value) for value in table[name].to_pylist()]
        for name in table.column_names
        if not pyarrow.types.is_nested(table[name].type) and "binary" not in str(table[name].type)
    }


def holds_pictures(file: Path) -> bool:
    """Whether pictures are in the table, rather than paths of pictures only."""
    if not file.is_file():
        return False
    pyarrow = _pyarrow()
    try:
        kinds = pyarrow.parquet.read_schema(file).types
    except (pyarrow.ArrowException, OSError):  # who reads it as a table will say what is wrong
        return False
    return any(pyarrow.types.is_nested(kind) or "binary" in str(kind) for kind in kinds)


def open_parquet(file: str) -> Any:
    """A Parquet file at a path or URL. What is read from a URL is only what is asked for."""
    parquet = _pyarrow().parquet
    if "://" in file:
        return parquet.ParquetFile(open_url(file), pre_buffer=True)
    return parquet.ParquetFile(file, memory_map=True)


def write_table(table: Any, path: Path) -> None:
    """As a file that `map_table` gives back without reading it."""
    with _pyarrow().ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)


def map_table(path: Path) -> Any:
    """A table in a file, mapped into memory."""
    pyarrow = _pyarrow()
    return pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()


def write_rows(
    path: Path,
    columns: Mapping[str, str],
    width: int,
    half: bool,
    blocks: Iterable[tuple[Mapping[str, Sequence[Any]], np.ndarray]],
    about: Mapping[str, str],
) -> None:
    """Blocks of described rows as a Parquet file; the rows are the last column, "features".

    `columns` are names and types ("string", "int64", "double"); `about` is kept in the schema.
    """
    pyarrow = _pyarrow()
    number = pyarrow.float16() if half else pyarrow.float32()
    fields = [(name, pyarrow.type_for_alias(kind)) for name, kind in columns.items()]
    features = ("features", pyarrow.list_(number, width))
    schema = pyarrow.schema([*fields, features], metadata=dict(about))
    with pyarrow.parquet.ParquetWriter(str(path), schema) as file:
        for described, rows in blocks:
            flat = pyarrow.array(np.ascontiguousarray(rows).reshape(-1), number)
            listed = pyarrow.FixedSizeListArray.from_arrays(flat, width)
            arrays = [pyarrow.array(described[name], kind) for name, kind in fields]
            file.write_table(pyarrow.Table.from_arrays([*arrays, listed], schema=schema))


def check_pyarrow() -> None:
    """`ValueError` with what is to be installed."""
    _pyarrow()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value).strip()


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise ValueError("Parquet files need pyarrow: pip install 'jepakit[hub]'") from None
    return pyarrow
