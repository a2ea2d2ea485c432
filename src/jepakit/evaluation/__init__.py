"""Measuring what frozen features know: the evaluations by name."""

from jepakit.evaluation.evaluation import Evaluation, Features
from jepakit.evaluation.judgement import Classification
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.evaluation.linear_probe import LinearProbe

EVALUATIONS: dict[str, type[Classification]] = {"knn": NearestNeighbours, "linear": LinearProbe}

__all__ = ["EVALUATIONS", "Classification", "Evaluation", "Features"]
