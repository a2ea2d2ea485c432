"""The encoder in scikit-learn's pipelines."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from jepakit.runs.model import Model
from jepakit.sklearn import Encoder, KNeighboursProbe, LogisticProbe


@pytest.fixture
def encoder(home: Path) -> Encoder:
    return Encoder(str(home / "runs" / "my-run"), device="cpu")


@pytest.fixture
def pictures(home: Path) -> list[Path]:
    return sorted((home / "pictures" / "classes").rglob("*.png"))


# Checks that give a table of numbers do not apply: pictures are none.
APPLICABLE = (
    *("check_no_attributes_set_in_init", "check_parameters_default_constructible"),
    *("check_get_params_invariance", "check_set_params", "check_estimator_repr"),
    *("check_estimator_tags_renamed", "check_valid_tag_types", "check_mixin_order"),
    *("check_estimator_cloneable", "check_do_not_raise_errors_in_init_or_set_params"),
)


@pytest.mark.parametrize("name", APPLICABLE)
def test_scikit_learns_checks_that_need_no_table(name: str, encoder: Encoder) -> None:
    check = getattr(estimator_checks, name)
    check("Encoder", encoder)


def test_rows_are_the_models_features(encoder: Encoder, pictures: list[Path], model: Model) -> None:
    expected = model.features(pictures)
    np.testing.assert_array_equal(encoder.transform(pictures), expected)
    np.testing.assert_array_equal(encoder.fit_transform(pictures), expected)
    both = clone(encoder).set_params(layers=(0, 1), pool="max")
    np.testing.assert_array_equal(
        both.transform(pictures), model.features(pictures, layers=(0, 1), pool="max")
    )
    assert len(both.get_feature_names_out()) == 64


def test_the_network_follows_the_settings(encoder: Encoder, pictures: list[Path]) -> None:
    before = encoder.transform(pictures)
    encoder.set_params(branch="context")
    assert not np.allclose(encoder.transform(pictures), before)


def test_a_pipeline_learns_is_searched_cloned_and_pickled(
    encoder: Encoder, pictures: list[Path]
) -> None:
    labels = [path.parent.name for path in pictures]
    pipeline = make_pipeline(encoder, KNeighboursProbe(n_neighbors=3))
    assert pipeline.fit(pictures, labels).score(pictures, labels) == 1.0
    again = pickle.loads(pickle.dumps(pipeline))
    assert b"pos_embed" not in pickle.dumps(encoder)
    assert (again.predict(pictures) == labels).all()
    grid = GridSearchCV(pipeline, {"encoder__pool": ["mean", "max"]}, cv=2)
    assert grid.fit(pictures, labels).best_score_ == 1.0
    logistic = make_pipeline(clone(encoder), LogisticProbe()).fit(pictures, labels)
    assert logistic.predict_proba(pictures[:1]).shape == (1, 2)


def test_rows_may_be_a_table(encoder: Encoder, pictures: list[Path]) -> None:
    pandas = pytest.importorskip("pandas")
    table = encoder.set_output(transform="pandas").fit_transform(pictures)
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns[:2]) == ["encoder0", "encoder1"]
    column = pandas.Series([str(path) for path in pictures], index=range(5, 17))
    assert list(encoder.transform(column).index) == list(range(5, 17))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"pool": "none"}, "set pool to mean or max"),
        ({"layers": (9,)}, "there is no layer 9"),
        ({"model": "nowhere"}, "nowhere"),
    ],
)
def test_settings_that_make_no_sense_are_refused_when_fitting(
    encoder: Encoder, settings: dict[str, Any], sentence: str, pictures: list[Path]
) -> None:
    with pytest.raises(ValueError, match=sentence):
        encoder.set_params(**settings).fit(pictures)
