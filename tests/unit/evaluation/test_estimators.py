import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from jepakit.evaluation.estimators import (
    KNeighboursProbe,
    LinearSweepProbe,
    LogisticProbe,
    fit_scikit_learn,
)
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.fitting import Scaling
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.evaluation.linear_probe import LinearProbe
from jepakit.evaluation.linear_sweep import LinearSweep

QUICK = {"learning_rates": (0.3, 3.0), "weight_decays": (0.0,), "epochs": 20, "batch_size": 64}
PROBES = [KNeighboursProbe(), LogisticProbe(), LinearSweepProbe(**QUICK)]


@parametrize_with_checks(PROBES)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def clouds(num: int, seed: int) -> Features:
    random = torch.Generator().manual_seed(99)
    centres = torch.randn(3, 6, generator=random)
    random.manual_seed(seed)
    labels = torch.randint(3, (num,), generator=random)
    return Features(centres[labels] + torch.randn(num, 6, generator=random), labels)


def test_estimators_predict_what_the_evaluations_predict() -> None:
    train, test = clouds(300, 0), clouds(200, 1)
    neighbours = NearestNeighbours(NearestNeighbours.Settings(neighbours=(20,)))
    sweep = LinearSweep(LinearSweep.Settings.model_validate(QUICK))
    evaluations = zip(("knn_20", "linear", "linear_sweep"), PROBES, strict=True)
    for evaluation, (name, probe) in zip(
        (neighbours, LinearProbe(), sweep), evaluations, strict=True
    ):
        expected = evaluation.judge(train, test)
        names = np.array(["ball", "cone", "cube"])
        fitted = clone(probe).fit(train.values.numpy(), names[train.labels])
        found = fitted.predict(test.values.numpy())
        assert (found == names[expected.predictions[name]]).mean() > 0.99
        score = fitted.score(test.values.numpy(), names[test.labels])
        assert score == pytest.approx(expected.scores()[name], abs=0.01)
        shares = fitted.predict_proba(test.values.numpy())
        np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_what_was_chosen_can_be_read() -> None:
    train = clouds(300, 0)
    arrays = train.values.numpy(), train.labels.numpy()
    assert LogisticProbe(l2=(0.3,)).fit(*arrays).l2_ == 0.3
    sweep = LinearSweepProbe(**QUICK).fit(*arrays)
    assert sweep.accuracies_[sweep.best_head_] == max(sweep.accuracies_.values())
    layered = LogisticProbe(width=2, pooling="last").fit(*arrays)
    assert layered.fitted_.width == 2


def test_probes_work_in_scikit_learns_tools() -> None:
    train = clouds(300, 0)
    scores = cross_val_score(LogisticProbe(), train.values.numpy(), train.labels.numpy(), cv=3)
    assert scores.min() > 0.5


def test_the_model_to_compare_with_is_the_same_problem() -> None:
    train, test = clouds(300, 0), clouds(500, 1)
    scaling = Scaling.of(train.values)
    model = fit_scikit_learn(scaling(train.values).numpy(), train.labels.numpy(), 0.01)
    ours = LogisticProbe(l2=(0.01,)).fit(train.values.numpy(), train.labels.numpy())
    theirs = model.predict_proba(scaling(test.values).numpy())
    np.testing.assert_allclose(ours.predict_proba(test.values.numpy()), theirs, atol=0.003)


def test_evaluations_do_not_need_scikit_learn() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import jepakit.evaluation, jepakit.evaluation.low_shot, jepakit.commands.bench_evaluate\n"
        "try:\n    import jepakit.evaluation.estimators\n"
        "except ImportError as error:\n    print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert "pip install 'scikit-learn>=1.6'" in found.stdout
