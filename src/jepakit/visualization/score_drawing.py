"""Scores with their intervals, one row per score and one mark per network, as an SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jepakit.visualization.line_drawing import (
    GRID,
    INK,
    SERIES,
    compact,
    series_colour,
    ticks,
    write_words,
)

Interval = tuple[float, float, float]  # value, low, high

_WIDTH, _RIGHT = 640, 14.0
_ROW, _APART, _LEGEND, _BELOW = 12.0, 12.0, 20.0, 22.0  # heights
_LETTER = 6.4  # usual width of a letter at font size 11


def draw_scores(rows: Sequence[str], scores: Mapping[str, Mapping[str, Interval]]) -> str:
    """An SVG of `scores[network][row]`, in percent, on one axis; a network may lack a row.

    Each mark is a value, and the bar through it its interval: where bars do not meet, networks
    differ.
    """
    left = 16 + _LETTER * max(len(row) for row in rows)
    group = _ROW * len(scores) + _APART
    top = _LEGEND * len(scores) + 6
    bottom = top + group * len(rows)
    bounds = [
        bound for network in scores.values() for interval in network.values() for bound in interval
    ]
    low, high = _round_range(min(bounds), max(bounds))

    def x(value: float) -> float:
        return left + (_WIDTH - left - _RIGHT) * (value - low) / (high - low)

    parts = []
    for tick in ticks(low, high, most=8):
        parts.append(f'<path d="M{x(tick):.1f} {top:.1f}V{bottom:.1f}" style="stroke:{GRID}"/>')
        parts.append(write_words(compact(tick), x(tick), bottom + 15, "middle"))
    for place, (network, found) in enumerate(scores.items()):
        colour, y = series_colour(place), 12.0 + _LEGEND * place
        hollow = place >= len(SERIES)  # its colour has been used
        parts.append(_mark(8.0, y - 4, colour, hollow))
        parts.append(write_words(network, 18, y, colour=INK))
        for number, row in enumerate(rows):
            if row in found:
                value, first, last = found[row]
                at = top + group * number + _APART / 2 + _ROW * (place + 0.5)
                parts.append(_bar(x(value), x(first), x(last), at, colour, hollow))
    for number, row in enumerate(rows):
        middle = top + group * (number + 0.5) + 4
        parts.append(write_words(row, left - 10, middle, "end"))
    height = round(bottom + _BELOW)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="inherit" font-size="11">{"".join(parts)}</svg>'
    )


def _round_range(low: float, high: float) -> tuple[float, float]:
    """The axis: from 0 if that is near, with room at both ends."""
    room = max(1.0, (high - low) / 20)
    return (0.0 if 0 <= low < 0.35 * high else low - room), high + room


def _bar(value: float, low: float, high: float, y: float, colour: str, hollow: bool) -> str:
    line = f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" style="stroke:{colour};stroke-width:2"/>'
    return line + _mark(value, y, colour, hollow)


def _mark(x: float, y: float, colour: str, hollow: bool) -> str:
    inside = "var(--card,#ffffff)" if hollow else colour
    style = f"fill:{inside};stroke:{colour};stroke-width:1.5"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" style="{style}"/>'
