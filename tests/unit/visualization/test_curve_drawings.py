"""Reading metrics.csv and drawing it: torn, empty, repeated, and numbers that are not finite."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from jepakit.visualization.curves import Curve, Panel, draw_curves, read_metrics
from jepakit.visualization.line_drawing import compact, ticks


def metrics(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(["step,epoch,name,value", *lines]), encoding="utf-8")
    return path


def curve(values: list[float]) -> Curve:
    return Curve(np.arange(len(values)) * 10, np.array(values, dtype=float))


def paths(svg: str) -> list[str]:
    """Outlines of the lines (not of axes, veils or marks)."""
    return re.findall(r'<path d="([^"]*)" fill="none" style="stroke:var\(--series', svg)


def test_reads_curves_by_name(tmp_path: Path) -> None:
    read = read_metrics(metrics(tmp_path, "0,0.0,loss,0.5", "0,0.0,lr,1e-4", "10,0.1,loss,0.25"))
    assert list(read) == ["loss", "lr"]
    assert read["loss"].steps.tolist() == [0, 10]
    assert read["loss"].values.tolist() == [0.5, 0.25]


def test_a_continued_run_counts_as_logged_last(tmp_path: Path) -> None:
    read = read_metrics(
        metrics(tmp_path, "0,0,loss,4", "20,0,loss,3", "10,0,loss,2", "20,0,loss,1")
    )
    assert read["loss"].steps.tolist() == [0, 10, 20]
    assert read["loss"].values.tolist() == [4, 2, 1]


@pytest.mark.parametrize("torn", ["1", "10,0.1,lo", "10,0.1,loss,", "10,0.1,loss,-"])
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn: str) -> None:
    read = read_metrics(metrics(tmp_path, "0,0.0,loss,0.5", torn))
    assert list(read) == ["loss"]
    assert read["loss"].values.tolist() == [0.5]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 3"):
        read_metrics(metrics(tmp_path, "0,0,loss,1", "x,0,loss,1", "2,0,loss,1"))


def test_another_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,itr,loss\n1,2,3\n", encoding="utf-8")
    with pytest.raises(ValueError, match="step,epoch,name,value"):
        read_metrics(path)


@pytest.mark.parametrize("content", ["", "step,epoch,name,value\n"])
def test_an_empty_file_has_no_drawings(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(content, encoding="utf-8")
    assert draw_curves(read_metrics(path)) == []


def test_panels_without_curves_are_left_out_and_no_curve_is_lost() -> None:
    curves = {"loss": curve([2, 1]), "loss/block_0": curve([1, 1]), "odd/name": curve([3, 4])}
    drawings = draw_curves(curves)
    assert [d.title for d in drawings] == ["Loss", "Loss per target block", "Odd: name"]
    assert [d.title for d in draw_curves(curves, others=False)] == drawings_titles(drawings)[:2]
    chosen = draw_curves(curves, [Panel("Mine", ("odd/*", "missing"))], others=False)
    assert drawings_titles(chosen) == ["Mine"]


def drawings_titles(drawings: list) -> list[str]:
    return [drawing.title for drawing in drawings]


def test_the_line_goes_where_the_values_are() -> None:
    svg = draw_curves({"loss": curve([4, 2, 0])})[0].svg
    numbers = [float(n) for n in re.findall(r"[\d.]+", paths(svg)[0])]
    x, y = numbers[::2], numbers[1::2]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    assert y[0] < y[1] < y[2], "upwards on the page is a smaller y"
    assert y[1] - y[0] == pytest.approx(y[2] - y[1], abs=0.2)


def test_values_that_are_not_finite_break_the_line_and_are_said() -> None:
    drawing = draw_curves({"loss": curve([4, math.nan, 3, 2, math.inf, 1])})[0]
    assert paths(drawing.svg)[0].count("M") == 3
    assert "not finite" in drawing.svg
    assert "2 of 6 values not finite" in drawing.words
    assert "nan" not in paths(drawing.svg)[0] + drawing.words
    assert "inf " not in drawing.words
    assert "not finite" not in draw_curves({"loss": curve([4, 3])})[0].svg


@pytest.mark.parametrize("values", [[math.nan], [math.nan] * 3, [0.0], [5.0] * 4, [-1e-30, 1e30]])
def test_degenerate_curves_are_drawn(values: list[float]) -> None:
    drawing = draw_curves({"loss": curve(values)})[0]
    ElementTree.fromstring(drawing.svg)
    assert not re.search(r'd="[^"]*(nan|inf)', drawing.svg)


def test_long_runs_stay_small_and_keep_their_mean() -> None:
    values = np.random.default_rng(0).normal(1, 0.1, 50_000).tolist()
    drawing = draw_curves({"loss": curve(values)})[0]
    assert len(drawing.svg) < 8_000
    assert "opacity" in drawing.svg, "a veil over the range of the noise"


def test_names_are_escaped_and_drawings_are_well_formed() -> None:
    curves = {"a/<b>&\"'": curve([1, 2]), "a/c": curve([2, 1])}
    drawing = draw_curves(curves, [Panel("<i>&", ("a/*",))])[0]
    words = [element.text for element in ElementTree.fromstring(drawing.svg).iter("text")]
    assert "<i>&" in words
    assert "<b>&\"' 2" in words


def test_words_say_where_it_began_and_ended() -> None:
    words = draw_curves({"loss": curve([0.5, 0.3, 0.25])})[0].words
    assert words == "Loss: loss goes from 0.5 at step 0 to 0.25 at step 20."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.12345, "0.123"),
        (1e-4, "1e-4"),
        (0.00025, "2.5e-4"),
        (0.9999, "0.9999"),
        (-45.67, "-45.7"),
        (1285.2, "1285"),
        (23_456, "23.5k"),
        (2_000_000, "2M"),
    ],
)
def test_compact_numbers(value: float, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7), (0.99, 1), (1e-6, 9e-6), (0, 123_456)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 6
    assert low - 1e-12 <= marks[0]
    assert marks[-1] <= high + 1e-12
    assert all(len(f"{abs(mark):.12g}".replace(".", "").strip("0")) <= 5 for mark in marks)
