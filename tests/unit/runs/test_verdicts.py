"""What the report says of a run: each mistake is seen, and a healthy run is not blamed."""

from __future__ import annotations

import numpy as np
import pytest

from jepakit.runs.verdicts import verdicts
from jepakit.visualization.curves import Curve

HEALTHY = {
    "loss": [0.4, 0.2, 0.3],
    "collapse/rankme": [20.0, 90.0],
    "collapse/cosine": [0.5, 0.3],
    "position/gap": [0.1, 0.2],
    "position/share": [0.5, 0.4],
    "probe/linear": [0.2, 0.5],
    "masks/context_row_min": [0.2],
    "masks/context_column_min": [0.1],
    "throughput/mean_data_wait": [0.01],
}


def curves(**changed: list[float]) -> dict[str, Curve]:
    numbers = HEALTHY | {name.replace("__", "/"): values for name, values in changed.items()}
    return {
        name: Curve(np.arange(len(values)), np.array(values)) for name, values in numbers.items()
    }


def test_a_healthy_run() -> None:
    found = verdicts(curves(), 192, 512)
    assert len(found) == 7
    assert all(verdict.good for verdict in found)


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("loss", [0.4, float("nan"), 0.3], "not finite at 1 of 3 steps"),
        (
            "collapse__rankme",
            [90.0, 12.0],
            "use about 12.0 of their 192 dimensions (RankMe), fewer than 19.2: few, and",
        ),
        (
            "collapse__rankme",
            [90.0, 5.0],
            "use about 5.0 of their 192 dimensions (RankMe), fewer than 5.8: they are collapsing",
        ),
        ("collapse__cosine", [0.2, 0.97], "a cosine of 0.97, above 0.95: they are nearly the same"),
        ("position__gap", [0.1, 0.01], "hardly tell pictures apart"),
        (
            "position__gap",
            [0.1, -0.004],
            "is 0.00 farther (in cosine) from its own target than from",
        ),
        ("position__share", [0.1, 0.96], "the place explains 96%"),
        ("probe__linear", [0.2, 0.6, 0.5], "had been 60%: an earlier checkpoint is better"),
        ("probe__linear", [0.2], "had 20% when it was asked, once"),
        ("masks__context_row_min", [0.001], "context in 0.1% of the pictures"),
        ("throughput__mean_data_wait", [0.06], "6% of the time: see docs/guides/feeding"),
        ("throughput__mean_loading", [0.4], "in between, took 40% of the time"),
    ],
)
def test_what_is_wrong_is_said(name: str, values: list[float], told: str) -> None:
    bad = [v.words for v in verdicts(curves(**{name: values}), 192, 512) if not v.good]
    assert len(bad) == 1
    assert told in bad[0]


def test_a_few_steps_tell_nothing() -> None:
    (bad,) = [v.words for v in verdicts(curves(), 192, 512, step=18) if not v.good]
    assert bad.startswith("It has trained for 18 steps only")
    early = verdicts(curves(collapse__rankme=[2.0, 3.0]), 192, 512, step=18)
    words = " ".join(v.words for v in early if not v.good)
    assert "use about 3.0 of their 192 dimensions (RankMe): few as yet." in words
    assert "collapsing" not in words
    assert all(verdict.good for verdict in verdicts(curves(), 192, 512, step=100))


def test_a_fall_that_may_be_luck_is_not_blamed() -> None:
    few = verdicts(curves(probe__linear=[0.2, 0.6, 0.5]), 192, 64)  # 4 deviations are 24 points
    assert all(verdict.good for verdict in few)


def test_a_collapse_that_nobody_watched_is_said_and_not_of_frozen_encoders() -> None:
    unwatched = curves()
    del unwatched["collapse/rankme"]
    (bad,) = [v.words for v in verdicts(unwatched, 192, 512) if not v.good]
    assert "was not measured (monitors.collapse.every)" in bad
    assert all(verdict.good for verdict in verdicts(unwatched, None, 512))
