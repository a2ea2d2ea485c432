"""What the numbers of a run say in words: healthy or not, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jepakit.training.monitors.advice import (
    ALIKE,
    COLLAPSED,
    FEW_DIMENSIONS,
    FEWEST_DIMENSIONS,
    MOST_BY_PLACE,
    SMALLEST_GAP,
    TOO_FEW_STEPS,
)
from jepakit.training.monitors.online_probe import has_fallen
from jepakit.training.monitors.throughput import LONG_LOADING
from jepakit.visualization.curves import Curve


@dataclass(frozen=True)
class Verdict:
    """One sentence about a run."""

    good: bool
    words: str


def verdicts(
    curves: Mapping[str, Curve], width: int | None, num_probed: int, step: int | None = None
) -> list[Verdict]:
    """A verdict for each thing that was watched, by the thresholds of the monitors' warnings.

    `width` is that of the encoder, None if it does not learn; `num_probed` the number of pictures
    of the online probe's score; `step` how far it is, where known. A run without monitors has fewer
    verdicts.
    """
    last = {name: float(curve.values[-1]) for name, curve in curves.items() if len(curve.values)}
    too_early = _too_early(step)
    found = [
        too_early,
        _loss(curves),
        _rank(last, width, too_early is not None) if width is not None else None,
        _cosine(last),
        _position(last),
        _probe(curves, num_probed),
        _masks(last),
        _waiting(last),
    ]
    return [verdict for verdict in found if verdict is not None]


def _too_early(step: int | None) -> Verdict | None:
    if step is None or step >= TOO_FEW_STEPS:
        return None
    words = f"It has trained for {step} steps only: too few to tell a collapse from a beginning."
    return Verdict(False, words)


def _loss(curves: Mapping[str, Curve]) -> Verdict | None:
    curve = curves.get("loss")
    if curve is None:
        return None
    broken = int((~np.isfinite(curve.values)).sum())
    if broken:
        return Verdict(False, f"The loss was not finite at {broken} of {len(curve.values)} steps.")
    first, end = float(curve.values[0]), float(curve.values[-1])
    lowest = float(curve.values.min())
    words = (
        f"The loss was finite throughout: {first:.3f} at first, {lowest:.3f} at its lowest, "
        f"{end:.3f} at the end. It may rise while targets become richer, so it says little alone."
    )
    return Verdict(True, words)


def _rank(last: Mapping[str, float], width: int, is_early: bool) -> Verdict:
    rank = last.get("collapse/rankme")
    if rank is None:
        return Verdict(
            False,
            "The rank of the features was not measured (monitors.collapse.every), so a collapse "
            "would not be seen here.",
        )
    few, collapsed = (max(FEWEST_DIMENSIONS, s * width) for s in (FEW_DIMENSIONS, COLLAPSED))
    words = f"The features use about {rank:.1f} of their {width} dimensions (RankMe)"
    if rank < few and is_early:
        return Verdict(False, f"{words}: few as yet.")
    if rank < collapsed:
        return Verdict(False, f"{words}, fewer than {collapsed:.1f}: they are collapsing.")
    if rank < few:
        return Verdict(False, f"{words}, fewer than {few:.1f}: few, and such features know little.")
    return Verdict(True, f"{words}; fewer than {few:.1f} would be few.")


def _cosine(last: Mapping[str, float]) -> Verdict | None:
    cosine = last.get("collapse/cosine")
    if cosine is None:
        return None
    words = f"The features of different pictures have a cosine of {cosine:.2f}"
    if cosine > ALIKE:
        return Verdict(False, f"{words}, above {ALIKE}: they are nearly the same.")
    return Verdict(True, f"{words}; above {ALIKE} they would be nearly the same.")


def _position(last: Mapping[str, float]) -> Verdict | None:
    gap, share = last.get("position/gap"), last.get("position/share")
    if gap is None or share is None:
        return None
    nearer = "closer (in cosine) to" if gap >= 0 else "farther (in cosine) from"
    good = gap >= SMALLEST_GAP and share <= MOST_BY_PLACE
    words = (
        f"A prediction is {abs(gap):.2f} {nearer} its own target than {nearer.split()[-1]} another "
        f"picture's at the same place, and the place explains {share:.0%} of the targets: "
        f"predictions {'tell' if good else 'hardly tell'} pictures apart."
    )
    return Verdict(good, words)


def _probe(curves: Mapping[str, Curve], num_probed: int) -> Verdict | None:
    name = next((n for n in ("probe/linear", "probe/knn") if n in curves), None)
    if name is None:
        return None
    values = curves[name].values
    first, best, end = float(values[0]), float(np.nanmax(values)), float(values[-1])
    kind = name.removeprefix("probe/").replace("linear", "linear probe").replace("knn", "k-NN")
    if len(values) < 2:
        words = f"On a few labelled pictures the {kind} had {end:.0%} when it was asked, once: "
        return Verdict(False, f"{words}whether training helped is not known.")
    words = f"Of a few labelled pictures the {kind} knew the class of {first:.0%} at first, "
    words += f"of {end:.0%} at the end"
    if has_fallen(best, end, num_probed):
        return Verdict(False, f"{words}, but had been {best:.0%}: an earlier checkpoint is better.")
    return Verdict(True, f"{words}.")


def _masks(last: Mapping[str, float]) -> Verdict | None:
    lows = [last.get(f"masks/context_{line}_min") for line in ("row", "column")]
    rarest = min((low for low in lows if low is not None), default=None)
    if rarest is None:
        return None
    words = f"The rarest row or column of the grid was context in {rarest:.1%} of the pictures."
    return Verdict(rarest >= 0.01, words)


def _waiting(last: Mapping[str, float]) -> Verdict | None:
    loading, wait = last.get("throughput/mean_loading"), last.get("throughput/mean_data_wait")
    if loading is not None:
        told = f"Loading pictures, in between, took {loading:.0%} of the time"
        return Verdict(loading <= LONG_LOADING, f"{told}.")
    if wait is None:
        return None
    words = f"Waiting for pictures took {wait:.0%} of the time"
    if wait > 0.05:
        return Verdict(False, f"{words}: see docs/guides/feeding-the-gpu.md.")
    return Verdict(True, f"{words}.")
