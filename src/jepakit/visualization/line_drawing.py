"""Lines over steps as one small SVG that takes its colours from the page around it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float, Int

# Colours are CSS variables of the page (light and dark); what follows the comma serves elsewhere.
SERIES = ("#4f46e5", "#c2410c", "#0f766e", "#be185d", "#a16207", "#0369a1")
INK, _QUIET, GRID = "var(--ink,#1c2030)", "var(--quiet,#5b6172)", "var(--rule,#d9dce5)"
_WARNING = "var(--warning,#b42318)"

_WIDTH, _HEIGHT = 320, 210
_LEFT, _RIGHT, _BOTTOM = 46.0, 8.0, 22.0
_BINS = 100  # points per line: more cannot be told apart at this width
_MARKED = 16  # up to so many points each gets a dot
_LETTER = 6.2  # usual width of a letter at font size 11


@dataclass(frozen=True)
class Line:
    """A named line; values may be NaN or infinite, which leaves a gap and a mark on the axis."""

    name: str
    steps: Int[np.ndarray, " T"]
    values: Float[np.ndarray, " T"]


@dataclass(frozen=True)
class _Bins:
    """A line thinned to what can be seen: per bin the mean and range of its finite values."""

    steps: list[float]
    middles: list[float]  # NaN where the bin has no finite value
    lows: list[float]
    highs: list[float]
    broken: list[float]  # steps of the bins in which a value is not finite


@dataclass(frozen=True)
class _Frame:
    """Where data land on the drawing."""

    last_step: float
    low: float
    high: float
    top: float
    bottom: float

    def x(self, step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(self.last_step, 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.bottom - (self.bottom - self.top) * min(max(share, 0.0), 1.0)


def draw_lines(
    title: str,
    lines: Sequence[Line],
    last_step: int,
    from_zero: bool = False,
    unit: str = "step",
) -> str:
    """An SVG of `lines` over the steps 0 to `last_step`, with title, legend and last values.

    `unit` is what a step is called. `from_zero` lets the vertical axis begin at 0, so that small
    noise looks small.
    """
    binned = [_thin(line) for line in lines]
    rows = -(-len(lines) // _legend_columns(lines)) if len(lines) > 1 else 0
    frame = _Frame(
        float(last_step), *_range(binned, from_zero), 32.0 + 16 * rows, _HEIGHT - _BOTTOM
    )
    parts = [*_axes(frame, unit), *_heading(title, lines)]
    for index, bins in enumerate(binned):
        parts += _band(bins, frame, index) + _path(bins, frame, index)
    parts += _warnings(binned, frame)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'font-family="inherit" font-size="11">{"".join(parts)}</svg>'
    )


def compact(value: float | int) -> str:
    """A number in few characters: 0.0123, 45.6, 1234, 12k, 1e-4."""
    size = abs(value)
    if not math.isfinite(value):
        return str(float(value))
    if size >= 10_000:
        power, letter = (1e6, "M") if size >= 1e6 else (1e3, "k")
        return f"{value / power:.3g}{letter}"
    if 0.95 <= size < 1:  # the momentum of a target encoder: 0.9999 is not 1
        return f"{value:.5g}"
    if size >= 0.01 or size == 0:
        return f"{value:.4g}" if size >= 1000 else f"{value:.3g}"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}"


def ticks(low: float | int, high: float | int, most: int = 5) -> list[float]:
    """At most `most` + 1 round numbers (1, 2 or 5 times a power of ten apart) in [low, high]."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    apart = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9)
    return [float(f"{index * apart:.12g}") for index in range(first, last + 1)]


def _thin(line: Line) -> _Bins:
    finite = np.isfinite(line.values)
    bins = _Bins([], [], [], [], [])
    for places in np.array_split(np.arange(len(line.steps)), min(_BINS, len(line.steps))):
        values = line.values[places][finite[places]]
        some = len(values) > 0
        bins.steps.append(float(line.steps[places].mean()))
        bins.middles.append(float(values.mean()) if some else math.nan)
        bins.lows.append(float(values.min()) if some else math.nan)
        bins.highs.append(float(values.max()) if some else math.nan)
        if len(values) < len(places):
            bins.broken.append(bins.steps[-1])
    return bins


def _range(binned: Iterable[_Bins], from_zero: bool) -> tuple[float, float]:
    """Lowest and highest value of the vertical axis: all means, but not every spike around them."""
    ends = np.array([ends for bins in binned for ends in zip(bins.lows, bins.highs, strict=True)])
    middles = np.array([middle for bins in binned for middle in bins.middles])
    ends, middles = ends[np.isfinite(ends)], middles[np.isfinite(middles)]
    if len(middles) == 0:
        return 0.0, 1.0
    low = float(min(middles.min(), np.quantile(ends, 0.03)))
    high = float(max(middles.max(), np.quantile(ends, 0.97)))
    if 0 <= low < (math.inf if from_zero else 0.4 * high):
        low = 0.0
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # constant
        room = abs(high) * 0.1 or 1.0
    else:
        room = 0.06 * (high - low)
    return (low if low == 0 < high else low - room), high + room


def _axes(frame: _Frame, unit: str) -> list[str]:
    parts = []
    for value in ticks(frame.low, frame.high):
        y = frame.y(value)
        parts.append(
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" style="stroke:{GRID}"/>'
            + write_words(compact(value), _LEFT - 6, y + 4, "end")
        )
    below = frame.bottom + 16
    for step in ticks(0, max(frame.last_step, 1), most=4):
        if step == int(step) and frame.x(step) < _WIDTH - _RIGHT - 78:
            parts.append(write_words(compact(step), frame.x(step), below, "middle"))
    last = f"{unit} {compact(frame.last_step)}"
    return [*parts, write_words(last, _WIDTH - _RIGHT, below, "end")]


def _heading(title: str, lines: Sequence[Line]) -> list[str]:
    parts = [write_words(title, 2, 15, colour=INK, bold=True, size=13)]
    lasts = [line.values[-1] for line in lines]
    if len(lines) == 1:
        colour = INK if math.isfinite(lasts[0]) else _WARNING
        return [
            *parts,
            write_words(compact(lasts[0]), _WIDTH - _RIGHT, 15, "end", colour, True, 13),
        ]
    columns = _legend_columns(lines)
    for index, (line, last) in enumerate(zip(lines, lasts, strict=True)):
        x, y = 2 + _WIDTH / columns * (index % columns), 33 + 16 * (index // columns)
        parts.append(
            f'<path d="M{x:.1f} {y - 4}h12" style="stroke:{series_colour(index)};stroke-width:3"/>'
            + write_words(f"{line.name} {compact(last)}", x + 16, y)
        )
    return parts


def _legend_columns(lines: Sequence[Line]) -> int:
    """How many entries of the legend fit side by side: one, two or three."""
    longest = max(len(f"{line.name} {compact(line.values[-1])}") for line in lines)
    return max(1, min(3, int(_WIDTH / (20 + _LETTER * longest))))


def _path(bins: _Bins, frame: _Frame, index: int) -> list[str]:
    """The line through the means, broken where a bin has none; dots where there are few."""
    finite = [math.isfinite(value) for value in bins.middles]
    before, after = [False, *finite[:-1]], [*finite[1:], False]
    path, dots = [], []
    for place in np.flatnonzero(finite):
        x, y = frame.x(bins.steps[place]), frame.y(bins.middles[place])
        path.append(f"{'L' if before[place] else 'M'}{x:.1f} {y:.1f}")
        alone = not before[place] and not after[place]
        if alone or len(finite) <= _MARKED:
            dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>')
    colour = series_colour(index)
    line = (
        f'<path d="{"".join(path)}" fill="none" '
        f'style="stroke:{colour};stroke-width:1.8;stroke-linejoin:round"/>'
    )
    return [line, f'<g style="fill:{colour}">{"".join(dots)}</g>' if dots else ""]


def _band(bins: _Bins, frame: _Frame, index: int) -> list[str]:
    """A veil over the range of the values behind each mean, for long noisy lines."""
    kept = [
        (frame.x(step), frame.y(low), frame.y(high))
        for step, low, high in zip(bins.steps, bins.lows, bins.highs, strict=True)
        if math.isfinite(low)
    ]
    if all(low == high for _, low, high in kept):
        return []
    there = [f"{x:.1f} {high:.1f}" for x, _, high in kept]
    back = [f"{x:.1f} {low:.1f}" for x, low, _ in reversed(kept)]
    outline = "L".join(there + back)
    return [f'<path d="M{outline}Z" style="fill:{series_colour(index)};opacity:.16"/>']


def _warnings(binned: Iterable[_Bins], frame: _Frame) -> list[str]:
    """Where values are not finite: a bar on the axis, and words at its beginning."""
    places = sorted({frame.x(step) for bins in binned for step in bins.broken})
    if not places:
        return []
    y = frame.bottom
    bar = "".join(f"M{x - 2:.1f} {y:.1f}h4" for x in places)
    words_at = min(places[0] - 2, _WIDTH - _RIGHT - 50)
    return [
        f'<path d="{bar}" style="stroke:{_WARNING};stroke-width:4"/>',
        write_words("not finite", words_at, y - 6, colour=_WARNING),
    ]


def write_words(
    words: str,
    x: float | int,
    y: float | int,
    anchor: str = "start",
    colour: str = _QUIET,
    bold: bool = False,
    size: int = 11,
) -> str:
    """Text at a place; `anchor` is start, middle or end."""
    weight = ";font-weight:650" if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'style="fill:{colour}{weight}">{escape(words)}</text>'
    )


def series_colour(index: int) -> str:
    """The colour of the line or mark number `index`."""
    place = index % len(SERIES)
    return f"var(--series-{place + 1},{SERIES[place]})"
