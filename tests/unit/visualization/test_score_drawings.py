"""Every score is a mark at its value with a bar over its interval."""

import re
from xml.etree import ElementTree

import pytest

from jepakit.visualization.score_drawing import draw_scores

SCORES = {
    "ours <&>": {"k-NN": (60.0, 58.0, 62.0), "linear": (80.0, 79.0, 81.0)},
    "raw pixels": {"k-NN": (40.0, 39.0, 41.0)},
}


def marks(drawing):
    """(x, colour) of every mark but those of the legend, left to right."""
    circles = [c.attrib for c in ElementTree.fromstring(drawing).iter() if c.tag.endswith("circle")]
    return sorted((float(c["cx"]), c["style"]) for c in circles if float(c["cx"]) > 10)


def test_marks_are_in_proportion():
    found = marks(draw_scores(["k-NN", "linear"], SCORES))
    assert len(found) == 3
    (pixels, other), (nearest, own), (linear, same) = found
    assert own == same != other
    assert linear - nearest == pytest.approx(nearest - pixels, abs=0.2)


def test_bars_reach_over_the_intervals():
    drawing = draw_scores(["k-NN", "linear"], SCORES)
    bars = [tuple(map(float, b)) for b in re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)"', drawing)]
    assert len(bars) == 3
    lengths = sorted(end - start for start, end in bars)
    assert lengths[2] == pytest.approx(2 * lengths[0], abs=0.3)
    for x, _ in marks(drawing):
        assert any(start < x < end for start, end in bars)


def test_names_are_there_and_escaped():
    drawing = draw_scores(["k-NN", "linear"], SCORES)
    text = [e.text for e in ElementTree.fromstring(drawing).iter() if e.tag.endswith("text")]
    assert {"ours <&>", "raw pixels", "k-NN", "linear"} <= set(text)


def test_a_colour_that_comes_again_is_hollow():
    many = {f"network {n}": {"k-NN": (50.0, 49.0, 51.0)} for n in range(8)}
    styles = [style for _, style in marks(draw_scores(["k-NN"], many))]
    assert len(set(styles)) == 8


def test_negative_scores_have_room():
    drawing = draw_scores(["r2"], {"a": {"r2": (-20.0, -30.0, -10.0)}})
    ((x, _),) = marks(drawing)
    assert 0 < x < 680
