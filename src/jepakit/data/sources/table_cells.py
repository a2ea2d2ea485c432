"""Reads a table into columns of text: CSV with commas, semicolons or tabs, or Parquet."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from jepakit.data.sources.parquet_files import read_texts


@dataclass(frozen=True)
class Cells:
    """The columns of a table with a header, as text without surrounding blanks."""

    file: Path
    columns: dict[str, list[str]]
    lines: list[int]  # of the file, for each row
    unit: str = "line"  # what `lines` counts

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str, setting: str) -> list[str]:
        """A column that a setting names."""
        if name not in self.columns:
            raise ValueError(
                f"{self.file} has no column {name!r}: set {setting} to one of: "
                f"{', '.join(self.columns)}"
            )
        return self.columns[name]


def read_cells(file: Path) -> Cells:
    """Read a table: text with commas, semicolons or tabs between the cells, or Parquet.

    `ValueError` says what is wrong.
    """
    if not file.is_file():
        raise ValueError(f"there is no table {file}: set --data to a .csv or .parquet file")
    return _read_parquet(file) if file.suffix.lower() == ".parquet" else _read_csv(file)


def _read_parquet(file: Path) -> Cells:
    columns = read_texts(file)
    rows = next(iter(columns.values()), [])
    if not rows:
        raise ValueError(
            f"{file} has no rows with paths of pictures: where it holds the pictures themselves, "
            "set data.source.kind=huggingface"
        )
    return Cells(file, columns, list(range(1, len(rows) + 1)), "row")


def _read_csv(file: Path) -> Cells:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            header_line = text.readline()
            text.seek(0)
            delimiter = max(",;\t", key=header_line.count)
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is not a CSV file in UTF-8 ({error}): save it as one") from None
    if len(rows) < 2:
        raise ValueError(f"{file} has no rows: it needs a line of column names and one per picture")
    header = [name.strip() for name in rows[0][1]]
    if len(set(header)) < len(header) or "" in header:
        raise ValueError(f"{file}: every column needs its own name, and they are: {header}")
    for line, row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"{file}, line {line}: {len(row)} cells where the header names {len(header)}: "
                "correct the line"
            )
    cells = zip(*(row for _, row in rows[1:]), strict=True)
    columns = {
        name: [c.strip() for c in column] for name, column in zip(header, cells, strict=True)
    }
    return Cells(file, columns, [line for line, _ in rows[1:]])
