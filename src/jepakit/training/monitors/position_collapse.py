"""Watches whether targets and predictions hold content, or only the place of a token."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field

from jepakit.core import settings as core
from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch
from jepakit.masking.masking import Masking
from jepakit.objectives.ijepa import IJepa
from jepakit.training.monitors.advice import (
    MOST_BY_PLACE,
    SMALLEST_GAP,
    against_collapse,
    is_too_early,
)
from jepakit.training.monitors.monitor import Monitor, ProbePictures, Snapshot
from jepakit.training.monitors.spectrum import position_share, target_cosines

_MASKS_SEED = 0


class PositionCollapse(Monitor):
    """Both measures of positional collapse, which rank and variance do not show.

    It looks at the first probe pictures under the same masks each time; they need no labels.
    """

    class Settings(core.Settings):
        """When to look, at how much, and when to speak."""

        every: int = Field(250, ge=0, description="steps between two looks; 0 = off")
        num_pictures: int = Field(64, ge=2, description="pictures looked at, encoded at once")
        patience: float = Field(
            0.1,
            ge=0,
            le=1,
            description="share of the schedule without warnings (and never before step 100)",
        )

    def __init__(self, settings: Settings, probe: ProbePictures, masking: Masking) -> None:
        self.settings = settings
        self.every = settings.every
        self.probe = probe
        self.masking = masking
        self._patient = False
        self._advice = ""

    def observe(self, snapshot: Snapshot) -> dict[str, float]:
        """`position/share`, `/own_cosine` (prediction and its target) and `/gap`."""
        objective = snapshot.objective
        assert isinstance(objective, IJepa), "predictions need an objective with a predictor"
        batch = self._batch(snapshot.device)
        with snapshot.in_precision():
            targets = objective.targets(batch.views)
            predictions = objective.predict(batch).float()
        own, other = target_cosines(predictions.cpu(), targets.cpu(), batch.masks.targets.cpu())
        self._advice = against_collapse(objective)
        self._patient = is_too_early(snapshot, self.settings.patience)
        return {
            "position/share": position_share(targets.cpu()).item(),
            "position/own_cosine": own.item(),
            "position/gap": (own - other).item(),
        }

    def _batch(self, device: str) -> Batch:
        """The first probe pictures with the masks that they always get."""
        pictures = self.probe.first_to_mask(self.settings.num_pictures)
        return Batch(
            views=self.probe.normalise(pictures.to(device)),
            masks=self.masking(len(pictures), BatchRandom(_MASKS_SEED, step=0)).to(device),
            labels=torch.full((len(pictures),), -1, device=device),
            indices=torch.arange(len(pictures), device=device),
        )

    def warnings(self, numbers: Mapping[str, float]) -> list[str]:
        """Speaks after `patience`, when the gap is near 0 or the share near 1."""
        if self._patient:
            return []
        gap, share = numbers["position/gap"], numbers["position/share"]
        symptoms = []
        if gap < SMALLEST_GAP:
            symptoms.append(
                f"a prediction is only {gap:.3f} closer to its own target than to another "
                "picture's at the same place"
            )
        if share > MOST_BY_PLACE:
            symptoms.append(f"the place alone explains {100 * share:.0f} % of the targets")
        if not symptoms:
            return []
        return [f"Positional collapse: {' and '.join(symptoms)}. {self._advice}"]
