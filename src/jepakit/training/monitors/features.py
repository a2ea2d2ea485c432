"""The kept encoder's features of the probe pictures, computed once per step for all monitors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from jepakit.training.monitors.monitor import ProbePictures, Snapshot


@dataclass(frozen=True)
class ProbeFeatures:
    """Average-pooled features of the kept encoder, on the CPU, one row per picture."""

    train: Float[Tensor, "R D"]
    test: Float[Tensor, "S D"]


class FeatureCache:
    """Holds the features of the last step asked for; give the same one to several monitors.

    `chunk` is how many pictures are encoded at once; the training's own micro-batch always fits.
    """

    def __init__(self, probe: ProbePictures, chunk: int = 64) -> None:
        assert chunk > 0
        self.probe = probe
        self.chunk = chunk
        self._step: int | None = None
        self._features: ProbeFeatures | None = None

    def at(self, snapshot: Snapshot) -> ProbeFeatures:
        """The features at the snapshot's step."""
        if self._features is None or self._step != snapshot.step:
            self._features = ProbeFeatures(
                self._pooled(self.probe.train_views, snapshot),
                self._pooled(self.probe.test_views, snapshot),
            )
            self._step = snapshot.step
        return self._features

    def _pooled(self, views: Tensor, snapshot: Snapshot) -> Tensor:
        encoder = snapshot.objective.kept_encoder()
        with snapshot.in_precision():
            chunks = [
                encoder.pooled(self.probe.normalise(chunk.to(snapshot.device)))
                for chunk in views.split(self.chunk)
            ]
        return torch.cat(chunks).cpu()
