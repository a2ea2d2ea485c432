"""The probes as scikit-learn estimators, for features of any model: numpy arrays in and out.

This file alone needs scikit-learn, and nothing of jepakit imports it unasked.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.evaluation.linear_probe import LinearProbe
from jepakit.evaluation.linear_sweep import LinearSweep

try:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        TransformerMixin,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
    from threadpoolctl import threadpool_limits
except ImportError as error:
    raise ImportError(
        "the estimators need scikit-learn 1.6 or newer: pip install 'scikit-learn>=1.6'"
    ) from error


class _Probe(ClassifierMixin, BaseEstimator):
    """Checks and converts; the probes below only fit and score tensors.

    Constructors take anything, as scikit-learn wants it; `fit` refuses what makes no sense.
    """

    def fit(self, X: Any, y: Any) -> _Probe:
        """Fit to features (num_samples x num_features) and labels of any kind."""
        X, y = validate_data(self, X, y, dtype=(np.float32, np.float64))
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "all samples are of one class: a classifier needs samples of at least two classes"
            )
        self._fit(Features(_tensor(X), torch.from_numpy(labels.astype(np.int64))))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row."""
        found = self._class_scores(X).argmax(dim=1).numpy()  # first: it says if `fit` is missing
        return self.classes_[found]

    def predict_proba(self, X: Any) -> np.ndarray:
        """A probability per class, in the order of `classes_`."""
        return self._probabilities(self._class_scores(X)).numpy()

    def _class_scores(self, X: Any) -> Tensor:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float32, np.float64), reset=False)
        # In float64 a row's result does not depend on which rows come with it.
        return self._scores(_tensor(X).double())

    @abstractmethod
    def _fit(self, train: Features) -> None: ...

    @abstractmethod
    def _scores(self, values: Tensor) -> Tensor:
        """Rows x classes; the largest wins."""

    def _probabilities(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=1)


class _LinearModel(_Probe):
    """A probe whose scores are log-odds."""

    def decision_function(self, X: Any) -> np.ndarray:
        """Log-odds: of the second class if there are two, else per class up to a constant."""
        scores = self._class_scores(X)
        return (scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores).numpy()


class KNeighboursProbe(_Probe):
    """The vote of the most similar training rows, as `NearestNeighbours` counts it.

    n_neighbors: how many vote; all, where there are fewer training rows.
    temperature: smaller = the nearest decide alone.
    """

    def __init__(self, n_neighbors: Any = 20, temperature: Any = 0.07) -> None:
        self.n_neighbors = n_neighbors
        self.temperature = temperature

    def _fit(self, train: Features) -> None:
        count = min(self.n_neighbors, len(train.values))
        settings = NearestNeighbours.Settings(neighbours=(count,), temperature=self.temperature)
        self.neighbours_ = NearestNeighbours(settings)
        self.train_ = Features(train.values.double(), train.labels)

    def _scores(self, values: Tensor) -> Tensor:
        (shares,) = self.neighbours_.shares(self.train_, len(self.classes_), values).values()
        return shares

    def _probabilities(self, scores: Tensor) -> Tensor:
        return scores


class LogisticProbe(_LinearModel):
    """Logistic regression on standardised features, L2 chosen on held-out rows (`LinearProbe`).

    width, pooling: for rows of several layers, see `Features.width` and `LinearProbe.Settings`.
    After fitting, `l2_` is the strength that was chosen.
    """

    def __init__(
        self,
        l2: Any = (1.0, 0.1, 0.01, 0.001, 0.0001),
        held_out: Any = 0.2,
        random_state: Any = 0,
        width: Any = None,
        pooling: Any = "last",
    ) -> None:
        self.l2 = l2
        self.held_out = held_out
        self.random_state = random_state
        self.width = width
        self.pooling = pooling

    def _fit(self, train: Features) -> None:
        settings = LinearProbe.Settings(
            l2=self.l2, held_out=self.held_out, seed=self.random_state, pooling=self.pooling
        )
        train = Features(train.values, train.labels, self.width)
        self.fitted_ = LinearProbe(settings).fit(train, len(self.classes_))
        self.l2_ = self.fitted_.l2

    def _scores(self, values: Tensor) -> Tensor:
        return self.fitted_.scores(values)


class LinearSweepProbe(_LinearModel):
    """The best of many linear heads that are trained together (`LinearSweep`, same settings).

    After fitting, `best_head_` names the head and `accuracies_` holds each one's on held-out rows.
    """

    def __init__(
        self,
        learning_rates: Any = LinearSweep.Settings().learning_rates,
        weight_decays: Any = LinearSweep.Settings().weight_decays,
        batch_size: Any = 256,
        epochs: Any = None,
        decay_every: Any = None,
        held_out: Any = 0.2,
        refit: Any = False,
        random_state: Any = 0,
        width: Any = None,
    ) -> None:
        self.learning_rates = learning_rates
        self.weight_decays = weight_decays
        self.batch_size = batch_size
        self.epochs = epochs
        self.decay_every = decay_every
        self.held_out = held_out
        self.refit = refit
        self.random_state = random_state
        self.width = width

    def _fit(self, train: Features) -> None:
        names = set(LinearSweep.Settings.model_fields) & self.get_params().keys()
        settings = LinearSweep.Settings(
            seed=self.random_state, **{name: getattr(self, name) for name in names}
        )
        train = Features(train.values, train.labels, self.width)
        sweep = LinearSweep(settings).fit(train, len(self.classes_))
        self.head_, self.accuracies_ = sweep.best, sweep.accuracies
        self.best_head_ = sweep.best.name

    def _scores(self, values: Tensor) -> Tensor:
        return self.head_.scores(values)


class PictureTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features of pictures, which are no table: nothing is learned, and nothing is validated."""

    def fit(self, X: Any, y: Any = None) -> PictureTransformer:
        """Look at the settings; the pictures are not looked at."""
        self._n_features_out = self._width()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features (num_samples x num_features) of the pictures."""
        self._n_features_out = self._width()
        return self._features(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit, tags.no_validation = False, True
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @abstractmethod
    def _width(self) -> int:
        """Number of features."""

    @abstractmethod
    def _features(self, X: Any) -> np.ndarray: ...


def fit_scikit_learn(
    values: np.ndarray, labels: np.ndarray, l2: float, num_threads: int = 1
) -> LogisticRegression:
    """scikit-learn's own model with the penalty that `LogisticProbe` calls `l2`, to compare with.

    `values` are standardised; scikit-learn's settings are its defaults, but for more iterations.
    """
    model = LogisticRegression(C=1 / (l2 * len(values)), max_iter=5000)
    with threadpool_limits(num_threads):
        return model.fit(values, labels)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values))
