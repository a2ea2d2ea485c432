"""Shares of time lost over the time between checkpoints, as an SVG with a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jepakit.visualization.line_drawing import GRID, INK, compact, series_colour, ticks, write_words

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 14.0, 62.0, 312.0
# Hours that people name.
_MARKS = {
    **{1 / 60: "1 min", 1 / 12: "5 min", 0.25: "15 min"},
    **{1.0: "1 h", 4.0: "4 h", 24.0: "1 day"},
}
Point = tuple[float, float]  # hours, share


def draw_lost_time(
    title: str, hours: Sequence[float], lost: Mapping[str, Sequence[float]], best: Sequence[Point]
) -> str:
    """An SVG of one line per name; `best[i]` is marked on the i-th: where a formula advises."""
    top = min(1.0, 4 * max(min(values) for values in lost.values()))
    first, last = math.log(hours[0]), math.log(hours[-1])

    def x(hour: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (math.log(hour) - first) / (last - first)

    def y(share: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(share / top, 1.0)

    parts = [write_words(title, 2, 16, colour=INK, bold=True, size=13)]
    for share in ticks(0.0, top):
        parts.append(f'<path d="M{_LEFT} {y(share):.1f}H{_WIDTH - _RIGHT}" stroke="#d9dce5"/>')
        parts.append(write_words(f"{compact(100 * share)} %", _LEFT - 6, y(share) + 4, "end"))
    for hour, words in _MARKS.items():
        if hours[0] <= hour <= hours[-1]:
            parts.append(f'<path d="M{x(hour):.1f} {_BOTTOM}v4" style="stroke:{GRID}"/>')
            anchor = "end" if hour == hours[-1] else "middle"
            parts.append(write_words(words, x(hour), _BOTTOM + 17, anchor))
    below = "work between two checkpoints; dots: Daly's formula"
    parts.append(write_words(below, (_LEFT + _WIDTH) / 2, _BOTTOM + 36, "middle"))
    for place, (name, values) in enumerate(lost.items()):
        shown = [(hour, share) for hour, share in zip(hours, values, strict=True) if share <= top]
        path = "L".join(f"{x(hour):.1f} {y(share):.1f}" for hour, share in shown)
        colour = series_colour(place)
        parts.append(f'<path d="M{path}" fill="none" style="stroke:{colour};stroke-width:1.8"/>')
        hour, share = best[place]
        parts.append(
            f'<circle cx="{x(hour):.1f}" cy="{y(share):.1f}" r="4" style="fill:{colour}"/>'
        )
        left = 2 + 110 * (place % 5)
        row = 36.0 + 16 * (place // 5)
        parts.append(f'<path d="M{left} {row - 4:.1f}h12" style="stroke:{colour};stroke-width:3"/>')
        parts.append(write_words(name, left + 16, row))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )
