"""Watches whether the features still tell pictures apart."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from jepakit.core import settings as core
from jepakit.core.randomness import BatchRandom
from jepakit.masking.masking import Masking
from jepakit.objectives.ijepa import IJepa
from jepakit.training.monitors.advice import (
    ALIKE,
    COLLAPSED,
    FEW_DIMENSIONS,
    FEWEST_DIMENSIONS,
    against_collapse,
    is_too_early,
)
from jepakit.training.monitors.features import FeatureCache
from jepakit.training.monitors.monitor import Monitor, Snapshot
from jepakit.training.monitors.spectrum import (
    cross_picture_cosine,
    feature_deviation,
    lidar,
    rank_me,
)

# The masks of the views are the same at every observation, so that LiDAR can be compared.
_VIEWS_SEED = 0


class Collapse(Monitor):
    """RankMe, deviation and cosine of the kept encoder's features; LiDAR of the context encoder's.

    LiDAR takes several masked views of a picture, drawn by `masking`; without one it is left out.
    """

    class Settings(core.Settings):
        """When to look, at how much, and when to speak."""

        every: int = Field(250, ge=0, description="steps between two looks; 0 = off")
        lidar_pictures: int = Field(128, ge=2, description="LiDAR cannot exceed this minus one")
        lidar_views: int = Field(4, ge=2, description="masked views of each of those pictures")
        patience: float = Field(
            0.1,
            ge=0,
            le=1,
            description="share of the schedule without warnings (and never before step 100)",
        )

    def __init__(
        self, settings: Settings, features: FeatureCache, masking: Masking | None = None
    ) -> None:
        self.settings = settings
        self.every = settings.every
        self.features = features
        self.masking = masking
        self._highest_possible = 0
        self._best_rank = 0.0
        self._patient = False
        self._advice = ""

    def observe(self, snapshot: Snapshot) -> dict[str, float]:
        """`collapse/rankme`, `/deviation`, `/cosine` and, with a masking, `/lidar`."""
        found = self.features.at(snapshot)
        features = torch.cat([found.train, found.test])
        numbers = {
            "collapse/rankme": rank_me(features).item(),
            "collapse/deviation": feature_deviation(features).item(),
            "collapse/cosine": cross_picture_cosine(features).item(),
        }
        if self.masking is not None:
            views = self._masked_views(snapshot, self.masking)
            numbers["collapse/lidar"] = lidar(views).item()
        self._highest_possible = min(features.shape)
        self._advice = against_collapse(snapshot.objective)
        self._patient = is_too_early(snapshot, self.settings.patience)
        if not self._patient:
            self._best_rank = max(self._best_rank, numbers["collapse/rankme"])
        return numbers

    def _masked_views(self, snapshot: Snapshot, masking: Masking) -> Float[Tensor, "B V D"]:
        """The context encoder's pooled features of several masked views per picture."""
        assert isinstance(snapshot.objective, IJepa), "LiDAR needs a context encoder"
        encoder = snapshot.objective.context_encoder
        probe, chunk = self.features.probe, self.features.chunk
        pictures = probe.first_to_mask(self.settings.lidar_pictures)
        chunks = []
        for first in range(0, len(pictures), chunk):
            views = probe.normalise(pictures[first : first + chunk].to(snapshot.device))
            drawn = []
            for view in range(self.settings.lidar_views):
                masks = masking(len(views), BatchRandom(_VIEWS_SEED, view, first))
                context = masks.context[:, 0].to(snapshot.device)
                with snapshot.in_precision():
                    tokens = encoder(views, context)
                drawn.append(tokens.float().mean(dim=1))
            chunks.append(torch.stack(drawn, dim=1))
        return torch.cat(chunks).cpu()

    def warnings(self, numbers: Mapping[str, float]) -> list[str]:
        """Speaks after `patience` when rank, cosine or deviation say that pictures look alike."""
        if self._patient:
            return []
        symptoms = [*self._of_rank(numbers["collapse/rankme"]), *self._of_spread(numbers)]
        return [f"{symptom}. {self._advice}" for symptom in symptoms[:1]]

    def _of_rank(self, rank: float) -> list[str]:
        """Own trials on small data: 9 of 96 and 9 of 192 were no better than a random encoder,
        17 of 128 learned a little, 28 of 128 and 156 of 192 learned well."""
        shown = f"RankMe is {rank:.1f} of {self._highest_possible}"
        if rank < max(FEWEST_DIMENSIONS, COLLAPSED * self._highest_possible):
            return [f"The features are collapsing: {shown}"]
        if rank < FEW_DIMENSIONS * self._highest_possible:
            return [f"The features use few of their dimensions: {shown}"]
        if rank < 0.5 * self._best_rank:
            return [f"The features are losing dimensions: {shown}, after {self._best_rank:.1f}"]
        return []

    def _of_spread(self, numbers: Mapping[str, float]) -> list[str]:
        cosine, deviation = numbers["collapse/cosine"], numbers["collapse/deviation"]
        if cosine > ALIKE:
            return [
                "The features of different pictures are almost the same: their cosine is "
                f"{cosine:.3f} (0.5 is healthy)"
            ]
        if deviation < 0.01:
            return [f"The features hardly vary: their standard deviation is {deviation:.2g}"]
        return []
