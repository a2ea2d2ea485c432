"""What is learned: one file per method."""

from jepakit.objectives.ijepa import IJepa
from jepakit.objectives.objective import Objective, StepOutput

OBJECTIVES = {"ijepa": IJepa}

__all__ = ["OBJECTIVES", "IJepa", "Objective", "StepOutput"]
