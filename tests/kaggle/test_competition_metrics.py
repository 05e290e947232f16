"""The metrics of competitions, against scikit-learn and by hand."""

import numpy as np
import pytest
from competition_files import TABLE, Y, refusal
from sklearn import metrics

from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.metrics import check_score, find_metric, metric_of_file

RNG = np.random.default_rng(1)
CODES = RNG.integers(0, 3, 200)
P = RNG.dirichlet(np.ones(3), 200)
TWO = (CODES > 0).astype(int)
P2 = np.stack([1 - P[:, 0], P[:, 0]], axis=1)
VALUES = RNG.gamma(2.0, size=200)
GUESS = VALUES * RNG.uniform(0.5, 1.5, 200)


def score(name, y, prediction):
    return find_metric(name).score(y, prediction)


@pytest.mark.parametrize(
    "name, y, p, expected",
    [
        ("logloss", CODES, P, -metrics.log_loss(CODES, P)),
        ("auc", TWO, P2, metrics.roc_auc_score(TWO, P2[:, 1])),
        ("auc", CODES, P, metrics.roc_auc_score(CODES, P, multi_class="ovr")),
        ("gini", TWO, P2, 2 * metrics.roc_auc_score(TWO, P2[:, 1]) - 1),
        ("mcc", CODES, P, metrics.matthews_corrcoef(CODES, P.argmax(1))),
        ("lwk", CODES, P, metrics.cohen_kappa_score(CODES, P.argmax(1), weights="linear")),
        ("fbeta@2", TWO, P2, metrics.fbeta_score(TWO, P2.argmax(1), beta=2)),
        ("fbeta@0.5", CODES, P, metrics.fbeta_score(CODES, P.argmax(1), beta=0.5, average="macro")),
        ("f1_weighted", CODES, P, metrics.f1_score(CODES, P.argmax(1), average="weighted")),
        ("neg_log_loss", CODES, P, -metrics.log_loss(CODES, P)),
        ("average_precision", TWO, P2, metrics.average_precision_score(TWO, P2[:, 1])),
        ("balanced_accuracy", CODES, P, metrics.balanced_accuracy_score(CODES, P.argmax(1))),
    ],
)
def test_of_classes(name, y, p, expected):
    assert score(name, y, p) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("rmse", -metrics.root_mean_squared_error(VALUES, GUESS)),
        ("medae", -metrics.median_absolute_error(VALUES, GUESS)),
        ("mape", -metrics.mean_absolute_percentage_error(VALUES, GUESS)),
        ("pinball@0.9", -metrics.mean_pinball_loss(VALUES, GUESS, alpha=0.9)),
        ("neg_mean_poisson_deviance", -metrics.mean_poisson_deviance(VALUES, GUESS)),
        ("smape", -np.mean(200 * np.abs(VALUES - GUESS) / (VALUES + GUESS))),
    ],
)
def test_of_values(name, expected):
    assert score(name, VALUES, GUESS) == pytest.approx(expected)


def test_rmsle_is_learned_as_a_logarithm():
    metric = find_metric("rmsle")
    expected = -metrics.root_mean_squared_log_error(VALUES, GUESS)
    assert metric.score(VALUES, np.log1p(GUESS)) == pytest.approx(expected)
    np.testing.assert_allclose(metric.decode(metric.encode(VALUES)), VALUES)


def test_map_at_k():
    p = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    assert score("map@2", np.array([0, 1, 2]), p) == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert find_metric("map@3").k == 3


def test_several_targets_are_averaged():
    y = np.stack([VALUES, 2 * VALUES], axis=1)
    p = np.stack([GUESS, 2 * GUESS], axis=1)
    expected = 1.5 * score("rmse", VALUES, GUESS)
    assert score("rmse", y, p) == pytest.approx(expected)


def test_labels_by_weighted_probabilities():
    metric = find_metric("accuracy")
    assert metric.labels(np.array([[0.7, 0.3]]), np.array([1.0, 3.0])).tolist() == [1]


@pytest.mark.parametrize("name", ["nonsense", "map", "map@x", "map@2.5", "pinball@2", "fbeta@"])
def test_unknown_names(name):
    with pytest.raises(CompetitionError, match=f"--metric {name} is unknown; there are logloss"):
        find_metric(name)


def test_a_metric_that_cannot_score_is_found_out_before_training(tmp_path):
    with pytest.raises(CompetitionError, match="cannot score this target"):
        check_score(find_metric("f1_samples"), TWO, 2)
    said = refusal(tmp_path, TABLE.assign(y=Y * 2), TABLE, metric="neg_mean_gamma_deviance")
    assert "neg_mean_gamma_deviance cannot score this target: ValueError" in said


def test_a_metric_of_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def score(y, p):\n    return abs(y - p).max()\nGREATER_IS_BETTER = False\n")
    assert metric_of_file(path).score(VALUES, GUESS) == -np.abs(VALUES - GUESS).max()
    path.write_text("ANSWER = 'label'\ndef score(y, p):\n    return (y == p).mean()\n")
    classes = np.array(["a", "b", "c"])
    found = metric_of_file(path, classes).score(CODES, P)
    assert found == (P.argmax(1) == CODES).mean()
    for text, message in [
        ("x = 1", "defines no score"),
        ("def score(y, p): ...\nANSWER = 3", "must be one of"),
        ("1 / 0", "cannot be run: ZeroDivisionError"),
        ("import sys; sys.exit()", "cannot be run: SystemExit"),
    ]:
        path.write_text(text)
        with pytest.raises(CompetitionError, match=message):
            metric_of_file(path)


def test_auc_leaves_out_a_class_without_a_row():
    """As in a fold, of a class of few rows."""
    some = CODES < 2
    areas = [metrics.roc_auc_score(CODES[some] == c, P[some, c]) for c in (0, 1)]
    assert score("auc", CODES[some], P[some]) == pytest.approx(np.mean(areas))
