"""Watches how far the target encoder lags behind the context encoder."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from jepakit.core import settings as core
from jepakit.core.shards import whole
from jepakit.objectives.ijepa import IJepa
from jepakit.training.monitors.monitor import Monitor, Snapshot


def relative_distance(followed: nn.Module, follower: nn.Module) -> Tensor:
    """L2 distance of all weights, relative to the L2 norm of the followed ones."""
    pairs = list(zip(followed.parameters(), follower.parameters(), strict=True))
    difference = sum((ours.float() - theirs.float()).square().sum() for ours, theirs in pairs)
    norm = sum(ours.float().square().sum() for ours, _ in pairs)
    assert isinstance(difference, Tensor)
    assert isinstance(norm, Tensor)
    return (whole(difference) / whole(norm)).sqrt()


class TargetDistance(Monitor):
    """Relative distance between the weights of target and context encoder.

    It peaks in the early steps and shrinks towards 0 with the learning rate; it has no healthy or
    sick value by itself, so it never warns.
    """

    class Settings(core.Settings):
        """When to look."""

        every: int = Field(50, ge=0, description="steps between two looks; 0 = off")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.every = settings.every

    def observe(self, snapshot: Snapshot) -> dict[str, float]:
        """`target/distance`."""
        objective = snapshot.objective
        assert isinstance(objective, IJepa), "a distance needs a target encoder"
        distance = relative_distance(objective.context_encoder, objective.target_encoder)
        return {"target/distance": distance.item()}
