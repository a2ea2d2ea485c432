"""What usually helps against collapse, in the names of the settings."""

from __future__ import annotations

from jepakit.objectives.ijepa import IJepa
from jepakit.objectives.objective import Objective
from jepakit.training.monitors.monitor import Snapshot

TOO_FEW_STEPS = 100  # to tell a collapse from a beginning
# Beyond these, monitors warn and reports doubt.
ALIKE = 0.95  # cosine of different pictures
FEW_DIMENSIONS, COLLAPSED = 0.1, 0.03  # shares of the dimensions that the features use
FEWEST_DIMENSIONS = 4.0  # of whatever width
SMALLEST_GAP = 0.02  # cosine by which a prediction is closer to its own target
MOST_BY_PLACE = 0.95  # share of the targets that the place explains


def is_too_early(snapshot: Snapshot, patience: float) -> bool:
    """Whether a collapse could not be told from a beginning yet; `patience`: of the schedule."""
    return snapshot.step < TOO_FEW_STEPS or snapshot.progress < patience


def against_collapse(objective: Objective) -> str:
    """A sentence that proposes only what the objective does not do already."""
    ways = []
    if isinstance(objective, IJepa):
        settings = objective.settings
        if objective.regulariser is None:
            ways.append("objective.regulariser.kind=vicreg with objective.regulariser.weight=0.05")
        else:
            ways.append(f"objective.regulariser.weight={2 * settings.regulariser.weight:g}")
        first, last = settings.ema
        if first < 0.99:
            ways.append(f"objective.ema=[0.99,{max(last, 0.99):g}]")
    ways += ["a lower optimization.lr", "a larger encoder.patch or encoder.width"]
    return f"What usually helps: {', '.join(ways)}."
