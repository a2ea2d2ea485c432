"""The measure of anomalies: AUROC, pixel controls, and the table with its controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jepakit.runs.seeing.anomaly import (
    SAME_PLACE,
    auroc,
    colour_contrast,
    measure_anomalies,
    risen,
    seams,
)
from jepakit.runs.seeing.looking import Looking, NotDrawn
from jepakit.runs.seeing.planting import KINDS


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    assert auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert auroc(np.array([0.0]), np.array([1.0, 2.0])) == 0
    assert auroc(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.5
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    marks, scores = random.random(200) < 0.3, random.integers(0, 9, 200).astype(float)
    expected = sklearn.roc_auc_score(marks, scores)
    assert auroc(scores[marks], scores[~marks]) == pytest.approx(expected)


def test_what_rose_is_counted_place_by_place() -> None:
    assert risen(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 2.0, 9.0, 1.0])) == 0.625


def test_pixels_see_a_patch_of_another_colour() -> None:
    views = torch.full((1, 3, 32, 40), 50, dtype=torch.uint8)
    views[:, 0, 8:16, 24:32] = 200
    for control in (colour_contrast, seams):
        found = control(views, (4, 5))[0]
        assert found.shape == (4, 5)
        assert np.isfinite(found).all()
        assert np.unravel_index(found.argmax(), found.shape) == (1, 3)
    assert colour_contrast(views, (4, 5))[0, 3, 0] == 0


def test_seams_do_not_see_a_smooth_slope() -> None:
    slope = torch.arange(32, dtype=torch.uint8).view(1, 1, 1, 32).expand(1, 3, 32, 32)
    assert seams(slope, (4, 4)).max() < 1
    assert colour_contrast(slope, (4, 4)).max() > 5


def test_the_looks_are_counted_to_their_end(looking: Looking) -> None:
    told: list[tuple[int, int]] = []

    @contextmanager
    def counting(name: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: told.append((done, total))

    measure_anomalies(replace(looking, counting=counting))
    assert told == [(done, 16) for done in range(17)]  # 4 rows: before, and 3 kinds


def test_the_table_has_all_rows_and_kinds(looking: Looking) -> None:
    found = measure_anomalies(looking).comparison
    assert found.num_pictures == 6
    assert list(found.scores) == [
        "energy",
        "energy, random networks",
        "pixels: colour against neighbours",
        "pixels: seams",
    ]
    for row in found.scores.values():
        assert list(row) == [name for kind in KINDS for name in (kind, kind + SAME_PLACE)]
        assert all(0 <= s.low <= s.value <= s.high <= 1 for s in row.values())
    assert found.value("pixels: seams", "swapped patches") > 0.8
    assert found.value("energy", "pasted object") != found.value(
        "energy, random networks", "pasted object"
    )


def test_only_what_can_predict_is_measured(looking: Looking) -> None:
    blind = replace(looking, loaded=replace(looking.loaded, predictor=None))
    with pytest.raises(NotDrawn, match="holds no predictor"):
        measure_anomalies(blind)


def test_scenes_have_three_channels(looking: Looking, new_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from jepakit.runs.weights import load_weights

    grey = load_weights(str(new_run(tmp_path / "grey", 1)), torch.device("cpu"))
    with pytest.raises(NotDrawn, match="takes 1 channels"):
        measure_anomalies(replace(looking, loaded=grey))
