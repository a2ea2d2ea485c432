"""faiss and our own search find the same rows, and they are the nearest."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.nn import functional as F

from jepakit.evaluation import nearest as module
from jepakit.evaluation.nearest import nearest


def rows(num: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, 16, generator=torch.Generator().manual_seed(seed)) * 7 + 1


@pytest.mark.parametrize("engine", ["exact", "faiss", "auto"])
def test_the_nearest_by_cosine_are_found_in_order(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "faiss":
        pytest.importorskip("faiss")
    monkeypatch.setattr(module, "_BLOCK", 64)
    found = nearest(rows(300), rows(5, 1), 10, engine)  # type: ignore[arg-type]
    similarities = F.normalize(rows(5, 1), dim=1) @ F.normalize(rows(300), dim=1).T
    expected = similarities.topk(10, dim=1)
    assert torch.equal(found.places, expected.indices)
    torch.testing.assert_close(found.cosines, expected.values)


def test_rows_that_are_not_numbers_are_never_found() -> None:
    some = rows(6)
    some[[0, 3]] = torch.nan
    found = nearest(some, some[[1]], 10, "exact")
    assert found.places.shape == (1, 4)
    assert found.places[0, 0] == 1
    assert set(found.places[0].tolist()) == {1, 2, 4, 5}
    with pytest.raises(ValueError, match="there is nothing to find"):
        nearest(torch.full((3, 16), torch.nan), some[[1]], 1)


def test_faiss_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match="pip install faiss-cpu"):
        nearest(rows(4), rows(1), 1, "faiss")
