"""Students: what they learn from, and what they must not learn from."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tabdl import (
    CrossValEnsembleClassifier,
    CrossValEnsembleRegressor,
    DistilledClassifier,
    DistilledRegressor,
    GreedyEnsembleRegressor,
    TabMLPClassifier,
    TabMLPRegressor,
)
from tabdl.ensemble.distillation import Lesson

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
VALUES = X[:, 0] + X[:, 1] ** 2
LABELS = np.array(["a", "b", "c"])[np.digitize(VALUES, [0.0, 1.5])]
SMALL = {"n_blocks": 1, "d_block": 8, "max_epochs": 3, "random_state": 0}


class Recorder(BaseEstimator):
    """Keeps what its fit gets; predicts a constant."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_ = X, y, sample_weight
        self.n_features_in_ = X.shape[1]
        return self


class RecordingClassifier(ClassifierMixin, Recorder):
    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return super().fit(X, y, sample_weight)

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]


class RecordingRegressor(RegressorMixin, Recorder):
    def predict(self, X):
        return np.zeros(len(X))


def test_values_are_mixed_with_predictions_out_of_fold():
    nearest = KNeighborsRegressor(1)  # in fold it repeats y
    model = DistilledRegressor(RecordingRegressor(), nearest, teacher_share=0.25, random_state=0)
    model.fit(X, VALUES)
    oof = CrossValEnsembleRegressor(nearest, cv=5, random_state=0).fit(X, VALUES).oof_prediction_
    assert np.abs(oof - VALUES).min() > 0
    assert np.array_equal(model.oof_prediction_, oof)
    assert np.allclose(model.estimator_.y_, 0.75 * VALUES + 0.25 * oof, rtol=0, atol=1e-12)
    assert model.estimator_.weight_ is None


def test_weights_of_classes_are_their_probabilities():
    weight = RNG.uniform(0.5, 2, len(X))
    model = DistilledClassifier(
        RecordingClassifier(), LogisticRegression(), teacher_share=0.5, random_state=0
    ).fit(X, LABELS, sample_weight=weight)
    student = model.estimator_
    targets = 0.5 * (LABELS[:, None] == model.classes_) + 0.5 * model.oof_prediction_
    found = np.zeros_like(targets)
    for row, label, part in zip(student.X_, student.y_, student.weight_, strict=True):
        i = np.flatnonzero((row == X).all(1))[0]
        found[i, np.flatnonzero(model.classes_ == label)[0]] += part / weight[i]
    assert np.allclose(found.sum(1), 1)
    assert np.abs(found - targets).max() < 0.02  # improbable classes are left out
    assert (found[targets < 0.01] == 0).all()


def test_no_share_is_no_teacher():
    plain = TabMLPRegressor(early_stopping=False, **SMALL)
    model = DistilledRegressor(plain, LinearRegression(), teacher_share=0.0).fit(X, VALUES)
    assert np.array_equal(model.predict(X), clone(plain).fit(X, VALUES).predict(X))


def test_a_network_stops_by_labels_that_do_not_train_it():
    model = DistilledRegressor(TabMLPRegressor(**SMALL), LinearRegression(), random_state=0)
    student = model.fit(X, VALUES).estimator_
    assert (student.n_train_rows_, student.n_val_rows_) == (96, 24)


def test_groups_stay_whole():
    groups = np.arange(len(X)) // 10
    rows = {}

    class Probe(TabMLPRegressor):
        def fit(self, X, y, *, sample_weight=None, X_val=None, y_val=None, sample_weight_val=None):
            rows["train"], rows["val"] = X, X_val
            return super().fit(X, y, sample_weight=sample_weight, X_val=X_val, y_val=y_val)

    teacher = CrossValEnsembleRegressor(LinearRegression(), cv=3, random_state=0)
    DistilledRegressor(Probe(**SMALL), teacher, random_state=0).fit(X, VALUES, groups=groups)
    of = {tuple(row): group for row, group in zip(X, groups, strict=True)}
    train, val = ({of[tuple(row)] for row in rows[part]} for part in ("train", "val"))
    assert train and val and not train & val


@pytest.mark.parametrize("as_frame", [False, True])
def test_unlabelled_rows_have_what_the_teacher_predicts(as_frame):
    table = pd.DataFrame(X, columns=list("abc")) if as_frame else X
    more = table[:7] + 0.5
    model = DistilledRegressor(RecordingRegressor(), LinearRegression(), random_state=0)
    student = model.fit(table, VALUES, X_unlabelled=more).estimator_
    teacher = CrossValEnsembleRegressor(LinearRegression(), cv=5, random_state=0)
    assert np.array_equal(np.asarray(student.X_)[len(X) :], np.asarray(more))
    assert np.array_equal(student.y_[len(X) :], teacher.fit(table, VALUES).predict(more))
    of_classes = DistilledClassifier(RecordingClassifier(), LogisticRegression(), random_state=0)
    student = of_classes.fit(table, LABELS, X_unlabelled=more).estimator_
    is_more = np.isin(np.asarray(student.X_)[:, 0], np.asarray(more)[:, 0])
    assert student.weight_[is_more].sum() == pytest.approx(7)


def test_several_targets():
    Y = np.column_stack([VALUES, -2 * VALUES])
    model = DistilledRegressor(TabMLPRegressor(**SMALL), LinearRegression(), random_state=0)
    assert model.fit(X, Y, X_unlabelled=X[:5]).predict(X).shape == Y.shape


def test_a_fitted_ensemble_is_used_as_it_is():
    blend = GreedyEnsembleRegressor([LinearRegression(), KNeighborsRegressor()], cv=3)
    blend.fit(X, VALUES)
    model = DistilledRegressor(RecordingRegressor(), blend, teacher_share=1.0).fit(X, VALUES)
    assert np.allclose(model.estimator_.y_, blend.oof_prediction_, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="teacher was fitted to 120 rows, and X has 60"):
        DistilledRegressor(RecordingRegressor(), blend).fit(X[:60], VALUES[:60])


def test_a_teacher_of_other_classes_is_refused():
    teacher = CrossValEnsembleClassifier(LogisticRegression(), cv=3).fit(X, LABELS == "a")
    with pytest.raises(ValueError, match="other classes"):
        DistilledClassifier(TabMLPClassifier(**SMALL), teacher).fit(X, LABELS)


def test_a_student_of_classes_must_take_weights():
    student = make_pipeline(StandardScaler(), KNeighborsClassifier())
    with pytest.raises(TypeError, match="KNeighborsClassifier takes no sample_weight"):
        DistilledClassifier(student, LogisticRegression()).fit(X, LABELS)


def test_rows_without_a_prediction_keep_their_label():
    model = DistilledRegressor(RecordingRegressor(), LinearRegression(), teacher_share=1.0)
    model.set_params(cv=[(np.arange(60, 120), np.arange(60))])
    with pytest.warns(UserWarning, match="60 of 120 rows are test rows of no trained fold"):
        model.fit(X, VALUES)
    assert np.isnan(model.oof_prediction_[60:]).all()
    assert np.array_equal(model.estimator_.y_[60:], VALUES[60:])
    assert not np.allclose(model.estimator_.y_[:60], VALUES[:60])


def test_boosted_trees_are_students_too():
    xgboost = pytest.importorskip("xgboost")
    student = xgboost.XGBClassifier(n_estimators=20, early_stopping_rounds=3, n_jobs=1)
    model = DistilledClassifier(student, LogisticRegression(), random_state=0).fit(X, LABELS)
    assert model.predict(X).dtype == LABELS.dtype
    assert model.score(X, LABELS) > 0.7


def test_a_lesson_follows_another():
    one = Lesson(np.arange(2), np.zeros(2), np.ones(2))
    assert one.followed_by(one).rows.tolist() == [0, 1, 0, 1]
