"""Monitors: they look at a training every so many steps and say in words when it goes wrong."""

from jepakit.training.monitors.collapse import Collapse
from jepakit.training.monitors.features import FeatureCache, ProbeFeatures
from jepakit.training.monitors.gradients import Gradients
from jepakit.training.monitors.masks import Masks
from jepakit.training.monitors.monitor import Monitor, ProbePictures, Snapshot
from jepakit.training.monitors.online_probe import OnlineProbe
from jepakit.training.monitors.position_collapse import PositionCollapse
from jepakit.training.monitors.target_distance import TargetDistance
from jepakit.training.monitors.throughput import Throughput

MONITORS = {
    "collapse": Collapse,
    "position_collapse": PositionCollapse,
    "online_probe": OnlineProbe,
    "masks": Masks,
    "target_distance": TargetDistance,
    "gradients": Gradients,
    "throughput": Throughput,
}

__all__ = [
    "MONITORS",
    "FeatureCache",
    "Monitor",
    "ProbeFeatures",
    "ProbePictures",
    "Snapshot",
]
