"""Blends: means against a stack, weights of classes."""

import numpy as np
import pytest
from scipy.special import softmax

from tabdl.kaggle.blending import blend_models, search_class_weights
from tabdl.kaggle.metrics import find_metric
from tabdl.kaggle.store import TrainedModel

RNG = np.random.default_rng(0)
N, T = 400, 30
PARTS = np.arange(N) % 5
VALUES = RNG.normal(size=N)


def model(name, oof, test=None):
    return TrainedModel(name, oof, oof[:T] if test is None else test, 0.0, [], 1)


def noisy(scale, seed):
    return VALUES + scale * np.random.default_rng(seed).normal(size=N)


def test_a_mean_beats_its_members():
    models = [model("a", noisy(0.5, 1)), model("b", noisy(0.5, 2))]
    metric = find_metric("rmse")
    blend = blend_models(models, VALUES, metric, PARTS)
    assert set(blend.scores) == {"greedy", "stack"} and blend.score == blend.scores[blend.used]
    assert blend.score > max(metric.score(VALUES, m.oof) for m in models) + 0.1
    assert sum(blend.weights.values()) == pytest.approx(1)
    np.testing.assert_allclose(blend.test, blend.oof[:T])


def test_a_stack_undoes_what_a_mean_cannot():
    models = [model("a", 3 * VALUES + 1), model("b", noisy(1.0, 1))]
    blend = blend_models(models, VALUES, find_metric("rmse"), PARTS)
    assert blend.kind == "stack" and blend.score > -0.01 and blend.weights["a"] > 0.9


@pytest.mark.parametrize("n_classes", [2, 3])
def test_of_probabilities(n_classes):
    rng = np.random.default_rng(n_classes)
    y = rng.integers(0, n_classes, N)
    sharp, blind = (
        softmax(0.2 * (know * np.eye(n_classes)[y] + rng.normal(size=(N, n_classes))), axis=1)
        for know in (2, 0)
    )
    models = [model("sharp", sharp), model("blind", blind)]
    blend = blend_models(models, y, find_metric("logloss"), PARTS)
    assert blend.kind == "stack"  # the probabilities are too flat, which a mean cannot mend
    assert blend.weights["sharp"] > 0.7
    np.testing.assert_allclose(blend.test.sum(1), 1)


def test_a_geometric_mean_keeps_what_a_sure_model_knows():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N)
    models = []
    for i in range(2):  # each is sure of what it knows, and says little else
        logs = 6.0 * np.eye(3)[y] * rng.choice([0.0, 1.0], (N, 1)) + rng.normal(size=(N, 3))
        models.append(model(f"m{i}", softmax(logs, axis=1)))
    metric = find_metric("logloss")
    blend = blend_models(models, y, metric, PARTS)
    assert set(blend.scores) == {"greedy", "geometric", "stack"}
    assert blend.scores["geometric"] > blend.scores["greedy"] + 0.05
    a, b = (m.oof ** blend.weights[m.name] for m in models)
    assert blend.kind == "geometric"
    np.testing.assert_allclose(blend.oof, a * b / (a * b).sum(1, keepdims=True))


def test_a_probability_of_zero_spoils_no_mean():
    y = np.arange(N) % 2
    sure = np.stack([1.0 - y, y], axis=1)
    sure[:20] = sure[:20, ::-1]
    models = [model("sure", sure), model("half", np.full((N, 2), 0.5))]
    blend = blend_models(models, y, find_metric("logloss"), PARTS)
    assert np.isfinite(blend.oof).all() and np.isfinite(list(blend.scores.values())).all()


def test_rows_without_a_prediction_stay_out():
    oof = noisy(0.1, 1)
    oof[:50] = np.nan
    blend = blend_models(
        [model("a", oof), model("b", noisy(0.1, 2))], VALUES, find_metric("mae"), PARTS
    )
    assert np.isnan(blend.oof[:50]).all() and np.isfinite(blend.oof[50:]).all()


def test_rows_of_a_negative_part_choose_no_weights():
    wrong = noisy(0.1, 1)
    wrong[:200] = -VALUES[:200]
    parts = np.where(np.arange(N) < 200, -1, PARTS)
    models = [model("a", wrong), model("b", noisy(0.4, 2))]
    blend = blend_models(models, VALUES, find_metric("mae"), parts)
    assert blend.weights["a"] > 0.9 and np.isfinite(blend.oof[:200]).all()


def test_no_odd_stretch_of_time_decides():
    parts = np.arange(N) * 5 // N
    a, b = noisy(0.3, 1), noisy(0.4, 2)
    a[parts == 2] += 3.0
    models = [model("a", a), model("b", b)]
    metric = find_metric("rmse")
    shuffled = blend_models(models, VALUES, metric, parts)
    in_time = blend_models(models, VALUES, metric, parts, is_in_time=True)
    assert shuffled.weights["a"] < 0.2 and in_time.weights["a"] > 0.4


def test_stretches_of_time_that_lack_a_class_choose_no_weights():
    parts = np.arange(N) * 40 // N
    y = (RNG.random(N) < 0.3).astype(int)
    y[parts < 8] = 0
    p = [np.clip(0.3 + know * (y - 0.3) + 0.1 * RNG.normal(size=N), 0, 1) for know in (0.6, 0)]
    models = [model(name, np.stack([1 - q, q], 1)) for name, q in zip("ab", p, strict=True)]
    blend = blend_models(models, y, find_metric("auc"), parts, is_in_time=True)
    assert sum(blend.weights.values()) == pytest.approx(1) and blend.weights["a"] > 0.9


def test_one_model_is_itself():
    oof = noisy(0.1, 1)
    blend = blend_models([model("a", oof)], VALUES, find_metric("rmse"), PARTS)
    assert blend.weights == {"a": 1} and list(blend.scores) == ["greedy"]
    np.testing.assert_array_equal(blend.oof, oof)


def test_weights_of_classes_help_a_rare_class():
    y = (RNG.random(N) < 0.15).astype(int)
    p = np.clip(0.15 + 0.2 * y + 0.08 * RNG.normal(size=N), 0.01, 0.99)
    p = np.stack([1 - p, p], axis=1)
    metric = find_metric("f1")
    blend = blend_models([model("a", p)], y, metric, PARTS)
    assert blend.scores["greedy, class weights"] == blend.score > blend.scores["greedy"] + 0.2
    labels = metric.labels(blend.oof, blend.class_weights)
    assert 0.08 < labels.mean() < 0.3


def test_the_kind_is_chosen_with_its_weights_of_classes():
    rng = np.random.default_rng(1)
    y = (rng.random(N) < 0.1).astype(int)
    models = []
    for i in range(3):
        p = np.clip(0.1 + 0.15 * y + 0.1 * rng.normal(size=N), 0.01, 0.99)
        models.append(model(f"m{i}", np.stack([1 - p, p], axis=1)))
    blend = blend_models(models, y, find_metric("f1"), PARTS)
    weighted = {name for name in blend.scores if name.endswith("class weights")}
    assert weighted == {f"{kind}, class weights" for kind in ("greedy", "geometric", "stack")}
    assert blend.used == max(blend.scores, key=lambda name: blend.scores[name]) in weighted


def test_weights_of_classes_that_help_nobody_are_left_out():
    y = np.arange(N) % 2
    p = np.stack([1.0 - y, y], axis=1) * 0.98 + 0.01
    blend = blend_models([model("a", p)], y, find_metric("accuracy"), PARTS)
    assert blend.class_weights is None and list(blend.scores) == ["greedy"]


def test_search_goes_through_all_classes():
    y = np.repeat([0, 1, 2], 20)
    p = np.full((60, 3), 0.01)
    p[np.arange(60), y] = [0.9] * 20 + [0.3] * 20 + [0.2] * 20
    p[20:, 0] = 0.5
    weights = search_class_weights(p, y, find_metric("accuracy"))
    assert (find_metric("accuracy").labels(p, weights) == y).all()


def test_several_targets():
    y = np.stack([VALUES, -VALUES], axis=1)
    models = [model("a", y + 0.1), model("b", 0.5 * y)]
    blend = blend_models(models, y, find_metric("rmse"), PARTS)
    assert blend.oof.shape == (N, 2) and blend.score > -0.01
