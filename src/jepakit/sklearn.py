"""A loaded encoder as a scikit-learn transformer, and the probes that go behind it."""

from __future__ import annotations

from typing import Any

import numpy as np

from jepakit.api import load
from jepakit.evaluation.estimators import (
    KNeighboursProbe,
    LinearSweepProbe,
    LogisticProbe,
    PictureTransformer,
)
from jepakit.evaluation.features import Reading
from jepakit.runs.model import Model

__all__ = ["Encoder", "KNeighboursProbe", "LinearSweepProbe", "LogisticProbe"]


class Encoder(PictureTransformer):
    """Pictures of any kind in (as `Model.features` takes them), one row of features each out.

    model: what `jepakit.load` takes. The other settings are those of `load` and `features`. The
    network is loaded when it is first needed, and again in a clone or after unpickling.

    >>> from sklearn.pipeline import make_pipeline
    >>> pipeline = make_pipeline(Encoder("runs/my-run", device="cpu"), LogisticProbe())
    >>> pictures = ["pictures/cat.png", "pictures/dog.png"] * 5
    >>> pipeline.fit(pictures, ["cat", "dog"] * 5).predict(["pictures/dog.png"])
    array(['dog'], dtype='<U3')
    """

    def __init__(
        self,
        model: Any,
        device: Any = "auto",
        branch: Any = "target",
        precision: Any = "auto",
        layers: Any = (-1,),
        pool: Any = "mean",
        size: Any = None,
        batch_size: Any = 64,
    ) -> None:
        self.model = model
        self.device = device
        self.branch = branch
        self.precision = precision
        self.layers = layers
        self.pool = pool
        self.size = size
        self.batch_size = batch_size

    def _features(self, X: Any) -> np.ndarray:
        return self._opened().features(
            X,
            layers=tuple(self.layers),
            pool=self.pool,
            size=self.size,
            batch_size=self.batch_size,
        )

    def _width(self) -> int:
        if self.pool == "none":
            raise ValueError("rows of a table are pooled features: set pool to mean or max")
        reading, model = Reading(tuple(self.layers), self.pool), self._opened()
        reading.check(model.depth)
        return reading.shape(model.encoder, model.size)[0]

    def _opened(self) -> Model:
        """The network that the settings name now."""
        settings = {
            "name": self.model,
            "device": self.device,
            "branch": self.branch,
            "precision": self.precision,
        }
        if getattr(self, "_loaded", (None,))[0] != settings:
            self._loaded = (settings, load(**settings))
        return self._loaded[1]

    def __getstate__(self) -> dict[str, Any]:
        """Without the network: it is loaded again."""
        return {k: v for k, v in super().__getstate__().items() if k != "_loaded"}
