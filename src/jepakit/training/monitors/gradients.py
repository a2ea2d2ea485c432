"""Watches the size of the gradients against what is usual in this run."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from pydantic import Field

from jepakit.core import settings as core
from jepakit.training.monitors.monitor import Monitor, Snapshot

# How many looks are remembered, and how many of them it takes to speak of a jump.
_MEMORY, _ENOUGH = 20, 5


class Gradients(Monitor):
    """The recent median of the gradient norm (before clipping), and the latest norm against it.

    The norm itself is logged by the trainer.
    """

    class Settings(core.Settings):
        """When to look, and when to speak."""

        every: int = Field(50, ge=0, description="steps between two looks; 0 = off")
        jump: float = Field(10.0, gt=1, description="warn above this many times the recent median")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.every = settings.every
        self._recent: list[float] = []

    def observe(self, snapshot: Snapshot) -> dict[str, float]:
        """`gradients/median_norm` and, after a few looks, `gradients/jump` (norm / median)."""
        norm = float(snapshot.gradient_norm)
        self._recent = [*self._recent, norm][-_MEMORY:]
        usual = median(self._recent)
        numbers = {"gradients/median_norm": usual}
        if usual > 0 and len(self._recent) >= _ENOUGH:
            numbers["gradients/jump"] = norm / usual
        return numbers

    def warnings(self, numbers: Mapping[str, float]) -> list[str]:
        """Speaks when the norm jumped, or stays next to nothing."""
        usual, jump = numbers["gradients/median_norm"], numbers.get("gradients/jump", 1.0)
        if usual < 1e-7:
            return [
                f"The gradients vanished: their norm is {usual:.1g}. What usually helps: "
                "a regulariser (objective.regulariser), another optimization.lr."
            ]
        if jump > self.settings.jump:
            return [
                f"The gradient norm jumped to {jump * usual:.3g}, {jump:.0f} times its recent "
                "median. What usually helps: a lower optimization.lr, "
                "optimization.clip_gradients=1."
            ]
        return []
