"""``warm_start`` and ``partial_fit``: what goes on, what is kept, what is refused."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import NETWORKS, make, numbers, people, target

import tabdl
from tabdl import CrossValEnsembleRegressor, TabMLPClassifier, TabMLPRegressor, TabMRegressor
from tabdl.exceptions import NonFiniteLossError

X, Y = people(90)
GOING_ON = [name for name in NETWORKS if hasattr(getattr(tabdl, name)(), "partial_fit")]
DOCS = Path(__file__).parents[2] / "docs" / "guide" / "going-on.md"
STILL = {"lr": 1e-30, "weight_decay": 0.0, "max_epochs": 1}
SMALL = {"d_block": 8, "max_epochs": 3, "lr": 3e-3, "random_state": 0}


def new(name, **changes):
    task = "Classifier" if name.endswith("Classifier") else "Regressor"
    return make(name.removesuffix(task), task, **changes), target(Y - 3, task)


def first_pass(name, n_rows=45, **changes):
    """Return an estimator after the first call of partial_fit, and y."""
    model, y = new(name, **changes)
    classes = {"classes": [0, 1]} if name.endswith("Classifier") else {}
    return model.partial_fit(X[:n_rows], y[:n_rows], **classes), y


def test_the_examples_of_the_documentation_run():
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.M | re.S)
    names = {}
    exec("\n".join(blocks), names)
    assert names["model"].n_iter_ == 5 and names["stream"].classes_.tolist() == [0, 1, 2]


# --- warm_start


@pytest.mark.parametrize("name", GOING_ON)
def test_fit_goes_on_from_the_weights_and_keeps_the_held_out_rows(name):
    model, y = new(name, warm_start=True, max_epochs=2, n_members=2)
    before = model.fit(X, y).predict(X)
    kept = [r.history[r.best_epoch - 1]["val_loss"] for r in model.member_results_]
    encoder = model.encoder_
    model.set_params(**STILL).fit(X, y)
    assert model.encoder_ is encoder and model.n_iter_ == 1
    if any("running_mean" in key for key in model.module_.state_dict()):
        return  # batch statistics are learned without a gradient
    np.testing.assert_allclose(model.predict(X), before, rtol=1e-6)
    found = [result.history[0]["val_loss"] for result in model.member_results_]
    np.testing.assert_allclose(found, kept, rtol=1e-5)


def test_grownet_alone_does_not_go_on():
    assert {*NETWORKS} - {*GOING_ON} == {"GrowNetClassifier", "GrowNetRegressor"}
    model, y = new("GrowNetRegressor", warm_start=True)
    model.fit(X, y)
    with pytest.raises(ValueError, match="GrowNetRegressor: warm_start must be False"):
        model.fit(X, y)


def test_scales_and_classes_are_those_of_the_first_fit():
    X, y = numbers(80)
    model = TabMLPClassifier(**SMALL, warm_start=True).fit(X, np.digitize(y, [-0.5, 0.5]))
    again = pickle.loads(pickle.dumps(model)).set_params(**STILL)
    few = again.fit(1000 * X[:20], (y[:20] > 0.5) * 2, X_val=X[20:40], y_val=(y[20:40] > 0.5) * 2)
    assert few.classes_.tolist() == [0, 1, 2]
    np.testing.assert_allclose(few.predict_proba(X), model.predict_proba(X), rtol=1e-5)


def test_an_unfitted_network_begins_and_without_warm_start_begins_anew():
    X, y = numbers(60)
    cold = TabMLPRegressor(**SMALL).fit(X, y)
    warm = TabMLPRegressor(**SMALL, warm_start=True).fit(X, y)
    np.testing.assert_array_equal(warm.predict(X), cold.predict(X))
    np.testing.assert_array_equal(cold.fit(X, y).predict(X), warm.predict(X))
    assert (warm.fit(X, y).predict(X) != cold.predict(X)).any()


@pytest.mark.parametrize(
    "change",
    [
        {"d_block": 16},
        {"n_members": 2},
        {"dropout": 0.5},
        {"numeric_embedding": None},
        {"numeric_transform": "standard"},
        {"numeric_missing": "indicator"},
        {"categorical_features": [0]},
    ],
)
def test_what_shapes_the_network_stays(change):
    X, y = numbers(60)
    model = TabMLPRegressor(**SMALL, warm_start=True).fit(X, y)
    before = model.predict(X)
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=next(iter(change))):
            model.set_params(**change)
            call(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_parameters_of_training_may_change():
    X, y = numbers(60)
    model = TabMLPRegressor(**SMALL, warm_start=True).fit(X, y)
    changes = {"optimizer": "muon", "loss": "quantile", "quantile": 0.9, "precision": "float64"}
    changes |= {"max_epochs": 30, "lr": 0.01, "batch_size": 10, "ema_decay": 0.5}
    model.set_params(**changes).fit(X, y)
    assert model.target_.kind == "quantile" and (y < model.predict(X)).mean() > 0.7


def test_pruned_predictions_go_on_alone():
    X, y = numbers(80)
    model = TabMRegressor(**SMALL, k=6, prune=True, warm_start=True).fit(X, y)
    n_left = model.module_.k
    assert n_left < 6
    model.set_params(prune=False).fit(X, y)
    assert model.module_.k == n_left
    model.partial_fit(X, y)
    assert np.isfinite(pickle.loads(pickle.dumps(model)).predict(X)).all()


def test_pruned_members_of_several_sizes_do_not_go_on():
    X, y = numbers(80)
    model = TabMRegressor(**SMALL, k=6, prune=True, warm_start=True, n_members=3).fit(X, y)
    assert len({net.k for net in model.module_.nets}) > 1 or len(model.module_.nets) < 3
    with pytest.raises(ValueError, match="n_members=3.*prune=True"):
        model.fit(X, y)


def test_a_temperature_is_that_of_the_latest_fit():
    X, y = numbers(80)
    model = TabMLPClassifier(**SMALL, warm_start=True, calibrate=True).fit(X, y > 0)
    first = model.temperature_
    assert model.set_params(max_epochs=40).fit(X, y > 0).temperature_ != first
    model.set_params(calibrate=False).fit(X, y > 0)
    assert model.target_.temperature is None


def test_a_checkpoint_belongs_to_one_beginning(tmp_path):
    class Killed(Exception):
        pass

    def kill(record):
        if record["epoch"] == 3:
            raise Killed

    X, y = numbers(60)
    begun = tabdl.TabMLPRegressor(**SMALL, warm_start=True).fit(X, y)
    begun.set_params(max_epochs=6, checkpoint=tmp_path / "c")
    expected = pickle.loads(pickle.dumps(begun)).set_params(checkpoint=None).fit(X, y)
    killed = pickle.loads(pickle.dumps(begun)).set_params(callbacks=[kill])
    with pytest.raises(Killed):
        killed.fit(X, y)
    resumed = pickle.loads(pickle.dumps(begun)).fit(X, y)
    np.testing.assert_array_equal(resumed.predict(X), expected.predict(X))
    with pytest.raises(ValueError, match="the initial weights was"):
        resumed.fit(X, y)


def test_members_of_ensembles_are_fitted_anew():
    X, y = numbers(60)
    member = TabMLPRegressor(**SMALL, warm_start=True).fit(X, y)
    folds = [
        CrossValEnsembleRegressor(one, cv=2, random_state=0).fit(X, y).oof_prediction_
        for one in (member, TabMLPRegressor(**SMALL))
    ]
    np.testing.assert_array_equal(*folds)
    assert not hasattr(CrossValEnsembleRegressor, "partial_fit")


# --- partial_fit


@pytest.mark.two_networks
@pytest.mark.parametrize("name", GOING_ON)
def test_a_stream_goes_on_after_a_pickle(name):
    model, y = first_pass(name, n_members=2)
    weights = [net.state_dict() for net in model.module_.nets]
    again = pickle.loads(pickle.dumps(model))
    for call in (model, again):
        call.partial_fit(X[45:], y[45:])
        assert call.n_iter_ == 1 and call.n_train_rows_ == 45 and len(call.history_) == 2
        assert np.isfinite(call.predict(X) if name.endswith("Regressor") else 0.0).all()
    for net, before in zip(model.module_.nets, weights, strict=True):
        assert any((net.state_dict()[key] != value).any() for key, value in before.items())


def test_a_stream_goes_on_after_a_file(tmp_path):
    model, y = first_pass("TabMLPRegressor")
    tabdl.save(model, tmp_path / "m.tabdl")
    copies = tabdl.load(tmp_path / "m.tabdl"), pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(*[each.partial_fit(X, y).predict(X) for each in copies])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_calls_are_two_epochs_of_fit(optimizer):
    """The optimizer's state goes on: without it the second step would be another."""
    X, y = numbers(40)
    same = {**SMALL, "dropout": 0.0, "batch_size": 40, "precision": "float64"}
    model = TabMLPRegressor(**same, optimizer=optimizer).partial_fit(X, y)
    model.partial_fit(X, y).partial_fit(X, y)
    whole = TabMLPRegressor(**same, optimizer=optimizer, early_stopping=False).fit(X, y)
    np.testing.assert_allclose(model.predict(X), whole.predict(X), rtol=1e-9)


def test_a_stream_learns():
    X, y = numbers(1200)
    model = TabMLPClassifier(random_state=0, d_block=32, lr=0.01, n_jobs=1)
    for start in range(0, 1000, 100):
        part = slice(start, start + 100)
        model.partial_fit(X[part], np.where(y[part] > 0, "up", "down"), classes=["up", "down"])
    assert model.score(X[1000:], np.where(y[1000:] > 0, "up", "down")) > 0.8


def test_each_call_draws_other_numbers_and_a_seed_repeats_them():
    X, y = numbers(60)
    models = [TabMLPRegressor(**SMALL, dropout=0.5) for _ in range(2)]
    for model in models:
        model.partial_fit(X, y).partial_fit(X, y)
    np.testing.assert_array_equal(*[model.predict(X) for model in models])
    still = TabMLPRegressor(**{**SMALL, **STILL}, dropout=0.5)
    losses = [still.partial_fit(X, y).history_[0]["train_loss"] for _ in range(3)]
    assert len(set(losses)) > 1


@pytest.mark.parametrize("classes", [[0, 1, 2], np.array([2, 1, 0])])
def test_classes_that_come_later(classes):
    X, y = numbers(60)
    model = TabMLPClassifier(**SMALL).partial_fit(X, y > 0, classes=classes)
    assert model.classes_.tolist() == [0, 1, 2]
    model.partial_fit(X, np.full(60, 2)).partial_fit(X, y > 0, classes=[0, 1, 2])
    assert model.predict_proba(X).shape == (60, 3)


def test_several_labels_a_row_need_no_classes():
    X, y = numbers(60)
    labels = np.stack([y > 0, y > 1], 1).astype(int)
    model = TabMLPClassifier(**SMALL).partial_fit(X, labels)
    assert model.partial_fit(X, labels).predict(X).shape == (60, 2)
    with pytest.raises(ValueError, match="y had 2 labels a row"):
        model.partial_fit(X, y > 0)


def test_rows_whose_categories_are_all_unknown():
    model, y = first_pass("TabMLPRegressor")
    unknown = X[:10].assign(city="Lima", plan="free")
    before = model.predict(unknown)
    model.partial_fit(unknown, y[:10])
    assert np.isfinite(model.predict(unknown)).all() and (model.predict(unknown) != before).any()


def test_a_table_that_is_another_is_refused_by_name():
    model, y = first_pass("TabMLPClassifier")
    for call in (model.partial_fit, model.set_params(warm_start=True).fit):
        with pytest.raises(ValueError, match="feature names"):
            call(X.drop(columns="age"), y)
        with pytest.raises(ValueError, match="column 'age' held numbers"):
            call(X.assign(age="old"), y)
        with pytest.raises(ValueError, match="y has the class 7"):
            call(X, np.full(len(X), 7))
    with pytest.raises(ValueError, match="X has 3 features, but TabMLPRegressor is expecting 4"):
        TabMLPRegressor(**SMALL).partial_fit(*numbers(30)).partial_fit(*numbers(30, 3))
    with pytest.raises(ValueError, match="2 target"):
        many = np.stack([numbers(30)[1]] * 2, 1)
        TabMLPRegressor(**SMALL).partial_fit(numbers(30)[0], many).partial_fit(*numbers(30))


def test_classes_are_required_first_and_the_same_later():
    X, y = numbers(60)
    model = TabMLPClassifier(**SMALL)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y > 0)
    with pytest.raises(ValueError, match="not among classes"):
        model.partial_fit(X, y > 0, classes=[0, 2])
    with pytest.raises(ValueError, match="at least 2 classes"):
        model.partial_fit(X, np.ones(60), classes=[1])
    model.fit(X, y > 0).partial_fit(X, y > 0)  # after fit they are known
    with pytest.raises(ValueError, match="not the same"):
        model.partial_fit(X, y > 0, classes=[0, 1, 2])


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "c"},
        {"time_limit": 5.0},
        {"ema_decay": 0.9},
        {"class_weight": "balanced"},
        {"calibrate": True},
    ],
)
def test_what_a_stream_cannot_heed_is_refused(change):
    X, y = numbers(40)
    with pytest.raises(ValueError, match=f"partial_fit needs {next(iter(change))}="):
        TabMLPClassifier(**SMALL, **change).partial_fit(X, y > 0, classes=[0, 1])
    with pytest.raises(ValueError, match="partial_fit needs prune=False"):
        TabMRegressor(**SMALL, prune=True).partial_fit(X, y)


def test_a_call_that_fails_changes_nothing():
    X, y = numbers(60)
    model = TabMLPRegressor(**SMALL, batch_size=5).partial_fit(X, y)
    before = model.predict(X)
    with pytest.raises(NonFiniteLossError):
        model.set_params(lr=1e30).partial_fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)
    good = model.set_params(lr=3e-3).partial_fit(X, y).predict(X)
    assert np.isfinite(good).all() and (good != before).any()
