"""Measuring what frozen features know: the evaluations of features by name."""

from jepakit.evaluation.evaluation import Evaluation, Features
from jepakit.evaluation.judgement import Classification
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.evaluation.linear_probe import LinearProbe
from jepakit.evaluation.linear_sweep import LinearSweep
from jepakit.evaluation.low_shot import LowShot

EVALUATIONS: dict[str, type[Classification]] = {
    "knn": NearestNeighbours,
    "linear": LinearProbe,
    "linear_sweep": LinearSweep,
    "low_shot": LowShot,
}

__all__ = ["EVALUATIONS", "Classification", "Evaluation", "Features"]
