"""The contract of evaluations that need the pictures themselves, not features made once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from jepakit.evaluation.judgement import Judgement
from jepakit.evaluation.subject import Pictures, Subject

Tell = Callable[[str], None]  # one line about the progress


class PictureEvaluation(ABC):
    """Trains something on pictures and a subject, and marks every test picture."""

    @abstractmethod
    def judge(
        self, subject: Subject, train: Pictures, test: Pictures, folder: Path, tell: Tell
    ) -> Judgement:
        """Marks of the test pictures, in their order.

        Labels are 0 .. K - 1 in both splits. What it needs to continue after an interruption lies
        in `folder`, which is its own. The subject's weights are never changed.
        """
