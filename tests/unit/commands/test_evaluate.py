"""jepa evaluate of a run: whether it learned from the test pictures, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jepakit

DEEP = np.random.default_rng(0).integers(0, 4000, (20, 24, 24)).astype(np.uint16)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """Pictures of 12 bits in files of 16, of two classes."""
    for number, one in enumerate(DEEP):
        folder = tmp_path / "deep" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one // (1 + number % 2)).save(folder / f"{number}.tif")
    return tmp_path / "deep"


def test_pictures_that_were_learned_from_are_told(deep: Path, new_run: Callable[..., Path]) -> None:
    source = {"kind": "folder", "path": str(deep), "channels": 1, "values": [0, 4000]}
    data = {"source": source, "view": {"size": 24}, "num_workers": 0}
    run = new_run(deep.parent / "run", 1, data=data)
    other = deep.rename(deep.parent / "moved")
    shown = jepakit.evaluate(run, other, ["knn"], features={"num_workers": 0})
    assert "learned from them" not in shown.caption()
    other.rename(deep)
    for named in (None, deep):
        shown = jepakit.evaluate(run, named, ["knn"], features={"num_workers": 0})
        assert shown.caption().endswith("; the run learned from them, without labels")
