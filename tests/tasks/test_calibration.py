"""Temperature scaling: the best temperature, the same classes, better probabilities of an
overconfident network."""

import numpy as np
import pytest
import torch
from conftest import make, numbers, target
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from tabdl.tasks.calibration import fit_temperature
from tabdl.tasks.targets import BinaryTarget, MulticlassTarget, MultilabelTarget

N_ROWS = 400


def overconfident(n_outputs, seed=0):
    """Return logits (N, 1, C) three times as large as those that the classes were drawn from, and
    the classes."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(N_ROWS, n_outputs)) * 2
    if n_outputs == 1:
        classes = (rng.random((N_ROWS, 1)) < 1 / (1 + np.exp(-logits))).astype(float)
    else:
        classes = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return torch.from_numpy(3 * logits)[:, None], torch.from_numpy(classes)


@pytest.mark.parametrize("n_outputs", [1, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_temperature_is_the_best_one(n_outputs, weighted):
    loss = (BinaryTarget if n_outputs == 1 else MulticlassTarget)(
        np.arange(max(2, n_outputs)), None, "Test"
    ).loss
    logits, y = overconfident(n_outputs)
    weight = (
        torch.rand(N_ROWS, generator=torch.Generator().manual_seed(0)).double() * 2
        if weighted
        else None
    )
    found = fit_temperature(loss, logits, y, weight, 1).item()

    def mean(log_temperature):
        losses = loss(logits / np.exp(log_temperature), y, 1 / (N_ROWS + 1))
        return (losses if weight is None else losses * weight).mean().item()

    assert found == pytest.approx(
        np.exp(minimize_scalar(mean, bounds=(-3, 3), method="bounded").x), rel=1e-4
    )
    assert found == pytest.approx(3, rel=0.3)


def test_rows_that_are_all_right_do_not_ask_for_certainty():
    logits = torch.tensor([[[2.0]], [[-2.0]]] * 50, dtype=torch.float64)
    temperature = fit_temperature(
        BinaryTarget(np.arange(2), None, "Test").loss, logits, (logits[:, 0] > 0).double(), None, 1
    )
    assert 1 / (1 + np.exp(-2 / temperature.item())) == pytest.approx(1 - 0.5 / 101)


@pytest.mark.two_networks
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_classes_stay(architecture, n_classes):
    X, y = numbers(300)
    labels = np.digitize(y, [0.0] if n_classes == 2 else [-1.0, 1.0])
    plain = make(architecture, "Classifier", max_epochs=10).fit(X, labels)
    scaled = make(architecture, "Classifier", max_epochs=10, calibrate=True).fit(X, labels)
    before, after = plain.predict_proba(X), scaled.predict_proba(X)
    assert scaled.temperature_ != 1
    np.testing.assert_array_equal(plain.predict(X), scaled.predict(X))
    np.testing.assert_array_equal(scaled.predict(X), scaled.classes_[after.argmax(1)])
    powers = before ** (1 / scaled.temperature_)
    np.testing.assert_allclose(after, powers / powers.sum(1, keepdims=True), rtol=1e-6)


def test_an_overconfident_network_gets_better_probabilities():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(700, 10))
    y = (X[:, 0] + rng.normal(size=700) > 0).astype(int)
    X_new = rng.normal(size=(2000, 10))
    y_new = (X_new[:, 0] + rng.normal(size=2000) > 0).astype(int)
    # Trained to the end, a network knows its training rows by heart, and its logits grow.
    options = {
        "d_block": 128,
        "dropout": 0.0,
        "lr": 1e-2,
        "max_epochs": 60,
        "early_stopping": False,
    }
    losses = {}
    for calibrate in (False, True):
        model = make("TabMLP", "Classifier", **options, calibrate=calibrate)
        losses[calibrate] = log_loss(
            y_new, model.fit(X[:500], y[:500], X_val=X[500:], y_val=y[500:]).predict_proba(X_new)
        )
    assert model.temperature_ > 2
    assert losses[True] < 0.6 * losses[False]


def test_a_temperature_for_each_label():
    X, y = numbers(300)
    Y = np.column_stack([y > 0, X[:, 2] > 0, np.random.default_rng(0).random(300) > 0.5]).astype(
        int
    )
    model = make("TabMLP", "Classifier", max_epochs=30, calibrate=True).fit(X, Y)
    assert model.temperature_.shape == (3,) and len(set(model.temperature_)) == 3
    plain = make("TabMLP", "Classifier", max_epochs=30).fit(X, Y)
    np.testing.assert_array_equal(plain.predict(X), model.predict(X))
    odds = [p / (1 - p) for p in (plain.predict_proba(X), model.predict_proba(X))]
    np.testing.assert_allclose(odds[0] ** (1 / model.temperature_), odds[1], rtol=1e-5)
    alone = MultilabelTarget(1, "Test")
    logits, labels = overconfident(1)
    both = fit_temperature(
        MultilabelTarget(2, "Test").loss,
        torch.cat([logits, logits / 2], 2),
        labels.repeat(1, 2),
        None,
        2,
    )
    torch.testing.assert_close(
        both, fit_temperature(alone.loss, logits, labels, None, 1) / torch.tensor([1.0, 2.0])
    )


def test_without_validation_rows():
    X, y = numbers()
    labels = target(y, "Classifier")
    model = make("TabMLP", "Classifier", calibrate=True, early_stopping=False)
    with pytest.raises(
        ValueError,
        match=(
            "TabMLPClassifier: calibrate=True needs validation rows: early_stopping=True, or X_val"
        ),
    ):
        model.fit(X, labels)
    assert model.fit(X, labels, X_val=X, y_val=labels).temperature_ > 0
    assert not hasattr(model.set_params(calibrate=False).fit(X, labels), "temperature_")
