"""The notebook runs from its first cell to its last, in a kernel of its own."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "quickstart.ipynb"


@pytest.mark.filterwarnings("default::DeprecationWarning")  # of what the kernel is driven with
def test_the_quick_start_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path / "cache"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    parameters.source = "NUM_PICTURES, EPOCHS = 60, 1"
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")
    assert "Model(runs/quickstart: target encoder" in said
    assert "accuracy 0." in said or "accuracy 1.00" in said
    pictures = [o for o in outputs if o.output_type == "execute_result" and "image/png" in o.data]
    assert len(pictures) == 2


def test_features_neighbours_and_probe_take_fifteen_lines() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = [c for c in notebook.cells if "LogisticProbe" in c.source]
    assert len([line for line in cell.source.splitlines() if line]) <= 15
