"""Importances in scikit-learn's selectors."""

import numpy as np
import pytest
from conftest import make, numbers, people
from sklearn.base import clone, is_classifier
from sklearn.feature_selection import RFE, RFECV, SelectFromModel
from sklearn.linear_model import LinearRegression

from tabdl.inspection import ImportanceGetter, WithImportances, gradient_importances


def test_select_from_model_takes_a_frame_with_categories():
    X, y = people(120)
    X = X[["plan", "age", "since", "city"]]
    model = make("TabM", "Regressor", max_epochs=20)
    getter = ImportanceGetter(X, y, max_rows=50)
    assert len(getter.X) == len(getter.y) == 50 and clone(getter, safe=False) is getter
    selector = SelectFromModel(
        model, importance_getter=getter, max_features=2, threshold=-np.inf
    ).fit(X, y)
    assert list(selector.get_feature_names_out()) == ["age", "city"]


def test_the_getter_gives_what_the_function_gives():
    X, y = numbers(80)
    model = make("FTTransformer", "Regressor", max_epochs=2).fit(X, y)
    values = ImportanceGetter(X, method="attention")(model)
    assert values.shape == (4,) and 0.5 < values.sum() < 1
    np.testing.assert_array_equal(ImportanceGetter(X)(model), gradient_importances(model, X).values)
    assert (ImportanceGetter(X, y[::-1])(model) >= 0).all()


def test_recursive_elimination():
    X, y = numbers(150)
    model = WithImportances(make("TabMLP", "Regressor", max_epochs=20))
    chosen = RFE(model, n_features_to_select=2).fit(X, y)
    assert chosen.support_.tolist() == [True, True, False, False]
    assert chosen.estimator_.n_features_in_ == 2
    found = RFECV(model, cv=2, min_features_to_select=2).fit(X, y > 0.2)
    assert found.support_[:2].all() and found.predict(X).shape == (150,)


def test_classifiers_stay_classifiers():
    X, y = numbers(80)
    model = WithImportances(make("TabMLP", "Classifier", max_epochs=2), max_rows=None)
    assert is_classifier(model) and not hasattr(
        WithImportances(LinearRegression()), "predict_proba"
    )
    model.fit(X, y > 0)
    assert model.predict_proba(X).shape == (80, 2) and model.classes_.tolist() == [False, True]
    assert model.score(X, y > 0) == model.estimator_.score(X, y > 0)
    assert model.feature_importances_.shape == (4,) and not hasattr(model, "feature_names_in_")


def test_a_getter_in_rfe_says_the_way_out():
    X, y = numbers(60)
    selector = RFE(make("TabMLP", "Regressor", max_epochs=1), importance_getter=ImportanceGetter(X))
    message = "X has 4 columns, and TabMLPRegressor was fitted on 3. .* WithImportances"
    with pytest.raises(ValueError, match=message):
        selector.fit(X, y)
