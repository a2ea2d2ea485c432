"""Showing how a run went: the numbers of its metrics.csv as small SVG line drawings."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from jepakit.visualization.line_drawing import Line, compact, draw_lines

_HEADER = ["step", "epoch", "name", "value"]


@dataclass(frozen=True)
class Curve:
    """One logged number over the run, by ascending step; values may be NaN or infinite."""

    steps: Int[np.ndarray, " T"]
    values: Float[np.ndarray, " T"]


@dataclass(frozen=True)
class Panel:
    """One drawing: its title and the names (with * and ?) of the curves that share its axes."""

    title: str
    names: tuple[str, ...]
    from_zero: bool = False


@dataclass(frozen=True)
class Drawing:
    """A drawn panel: inline SVG, and in words what it shows."""

    title: str
    svg: str
    words: str

    def standalone(self) -> str:
        """The drawing as a file of its own, where no page gives it colours."""
        svg = self.svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        svg = svg.replace('font-family="inherit"', 'font-family="sans-serif"')
        return re.sub(r"var\(--[^,)]+,([^)]+)\)", r"\1", svg)


PANELS = (
    Panel("Loss", ("loss",)),
    Panel("Loss per target block", ("loss/block_*",)),
    Panel("Parts of the loss", ("loss/*",)),
    Panel("Online probes", ("probe/*",)),
    Panel("Effective rank of the features", ("collapse/rankme", "collapse/lidar"), from_zero=True),
    Panel("Spread of the features", ("collapse/deviation", "collapse/*_std"), from_zero=True),
    Panel("Cosine between pictures", ("collapse/cosine*",), from_zero=True),
    Panel("Positional collapse", ("position/*",)),
    Panel("Distance of target encoder", ("target/distance",)),
    Panel("Gradient norm", ("gradients/*norm",)),
    Panel("Learning rate", ("lr", "*/lr")),
    Panel("Weight decay", ("weight_decay", "*/weight_decay")),
    Panel("Target encoder momentum", ("ema", "*/ema")),
    Panel("Tokens seen and hidden", ("masks/*_share",), from_zero=True),
    Panel("Context by row and column", ("masks/context_*",), from_zero=True),
    Panel("Images per second", ("throughput/images_per_second",), from_zero=True),
    Panel("Time waiting for pictures", ("throughput/*data_wait",), from_zero=True),
    Panel("Time loading pictures", ("throughput/mean_loading",), from_zero=True),
)


def read_metrics(path: str | Path) -> dict[str, Curve]:
    """The curves in a metrics.csv with the columns step, epoch, name, value.

    A step logged twice (a continued run) counts as it was logged last; a half-written last line
    (a killed run) is left out; an empty file has no curves.
    """
    points: dict[str, dict[int, float]] = {}
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if rows and rows[0] != _HEADER:
        raise ValueError(f"{path} does not begin with the columns {','.join(_HEADER)}")
    for number, row in enumerate(rows[1:], start=2):
        try:
            step, _, name, value = row
            points.setdefault(name, {})[int(step)] = float(value)
        except ValueError as problem:
            if number == len(rows):
                break
            raise ValueError(
                f"{path} line {number} is not step,epoch,name,value: {row}"
            ) from problem
    return {name: _curve(values) for name, values in points.items()}


def draw_curves(
    curves: Mapping[str, Curve], panels: Iterable[Panel] = PANELS, others: bool = True
) -> list[Drawing]:
    """The panels for which the run has curves, then (`others`) one for each curve in none of them.

    A curve is drawn once, in the first panel that names it. All drawings share the range of steps.
    """
    last_step = max((int(curve.steps[-1]) for curve in curves.values()), default=0)
    left = dict(curves)
    drawings = []
    for panel in panels:
        chosen = [name for name in left if any(fnmatchcase(name, wish) for wish in panel.names)]
        if chosen:
            part = {name: left.pop(name) for name in chosen}
            drawings.append(_draw(panel, part, last_step))
    if others:
        drawings += [
            _draw(Panel(_title(name), (name,)), {name: left[name]}, last_step) for name in left
        ]
    return drawings


def _curve(points: Mapping[int, float]) -> Curve:
    steps = sorted(points)
    return Curve(
        np.array(steps, dtype=np.int64), np.array([points[step] for step in steps], dtype=float)
    )


def _draw(panel: Panel, curves: Mapping[str, Curve], last_step: int) -> Drawing:
    lines = [Line(_short(name), curve.steps, curve.values) for name, curve in curves.items()]
    svg = draw_lines(panel.title, lines, last_step, panel.from_zero)
    sentences = "; ".join(_sentence(name, curve) for name, curve in curves.items())
    return Drawing(panel.title, svg, f"{panel.title}: {sentences}.")


def _sentence(name: str, curve: Curve) -> str:
    finite = np.isfinite(curve.values)
    broken = len(finite) - int(finite.sum())
    warning = f", {broken} of {len(finite)} values not finite" if broken else ""
    if not finite.any():
        return f"{name} has no finite value"
    steps, values = curve.steps[finite], curve.values[finite]
    if len(values) == 1:
        return f"{name} is {compact(values[0])} at step {steps[0]}{warning}"
    return (
        f"{name} goes from {compact(values[0])} at step {steps[0]} to {compact(values[-1])} "
        f"at step {steps[-1]}{warning}"
    )


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1].replace("_", " ")


def _title(name: str) -> str:
    words = name.replace("_", " ").replace("/", ": ")
    return words[:1].upper() + words[1:]
