"""The guide's table of what each kind of source can do: every cell is a test."""

import re
from pathlib import Path

import pytest

from jepakit.data.sources import SOURCES

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "feeding-the-gpu.md"
# The form of a kind that can do most, where there are several.
BEST_FORM = {"shards": "packed", "huggingface": "streamed"}
CHECKS = {
    "labels": lambda source: bool(source.classes) and source.label(0) >= 0,
    "further answers": lambda source: source.labels(0).keys() >= source.tasks.keys() > set(),
    "parts": lambda source: "split" in type(source).Settings.model_fields,
    "packed as they are": lambda source: source.stored(0) is not None,
    "more than the disk holds": lambda source: "window" in type(source).Settings.model_fields,
}


def _table():
    """The cells by kind and column."""
    text = GUIDE.read_text(encoding="utf-8")
    found = re.search(r"<!-- capabilities -->\n(.*)\n<!-- /capabilities -->", text, re.DOTALL)
    assert found, "the guide has no table of capabilities"
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    header, _, *kinds = rows
    return {row[0].strip("`"): dict(zip(header[1:], row[1:], strict=True)) for row in kinds}


def test_the_table_is_complete():
    assert _table().keys() == SOURCES.keys()
    assert all(cells.keys() == CHECKS.keys() for cells in _table().values())


@pytest.mark.parametrize("column", CHECKS)
@pytest.mark.parametrize("kind", SOURCES)
def test_every_cell_is_true(kind, column, make_source):
    cell = _table()[kind][column]
    assert cell in ("yes", "–")
    assert CHECKS[column](make_source(BEST_FORM.get(kind, kind))) == (cell == "yes")
