"""TabM after training: pruned predictions, the weights that they leave, and what the estimator says
of it."""

import pickle

import numpy as np
import pytest
import torch
from conftest import make, numbers, people, target

from tabdl.base.post_training import choose_predictions
from tabdl.data.columns import read_columns
from tabdl.models.tabm import ARCHITECTURES
from tabdl.tasks.targets import BinaryTarget


def squared(outputs, y):
    return (outputs.mean(1) - y).square().mean(1)


def test_greedy_choice():
    """Errors 4, -2 and 1: the last one is the best alone, and the mean with the second one is
    better; with all it is not."""
    y = torch.zeros(5, 1)
    outputs = torch.tensor([4.0, -2.0, 1.0])[None, :, None].expand(5, 3, 1)
    assert choose_predictions(outputs, y, None, squared) == [1, 2]
    assert choose_predictions(outputs[:, [2]], y, None, squared) == [0]
    # In the rows that count, the first one is right.
    rows = torch.tensor([[0.0, 3.0], [4.0, 0.0]])[:, :, None]
    assert choose_predictions(rows, y[:2], torch.tensor([2.0, 0.0]), squared) == [0]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("share", [True, False])
def test_kept_predictions_are_unchanged(arch, share):
    X, y = people()
    model = make("TabM", "Regressor", arch=arch, k=6, share_training_batches=share).fit(X, y)
    net, schema = model.module_, model.encoder_.schema
    x_num, x_cat = (
        torch.randn(20, schema.n_num),
        torch.zeros(20, len(schema.cardinalities), dtype=torch.uint8),
    )
    before = net(x_num, x_cat)
    n_before = sum(p.numel() for p in net.parameters())
    net.keep([1, 4])
    torch.testing.assert_close(net(x_num, x_cat), before[:, [1, 4]])
    for parameter in net.parameters():
        assert 6 not in parameter.shape[:1] and parameter.requires_grad
    assert sum(p.numel() for p in net.parameters()) < n_before
    assert net.train()(x_num, x_cat).shape == ((20, 2, 1) if share else (20, 1, 1))


def test_a_pruned_estimator(task):
    X, y = numbers(400)
    y = target(y, task)
    options = {"k": 16, "max_epochs": 15, "arch": "tabm"}
    whole, pruned = (
        make("TabM", task, **options, prune=prune).fit(X, y) for prune in (False, True)
    )
    n_kept = pruned.module_.k
    assert 1 <= n_kept < 16
    # A prediction has r, s and b of the hidden layers, its adapter, and a head.
    assert (
        pruned.n_parameters_
        == sum(p.numel() for p in pruned.module_.parameters())
        < whole.n_parameters_
    )
    assert len(pickle.dumps(pruned)) < len(pickle.dumps(whole))
    assert pruned.score(X, y) > 0.7
    assert pruned.history_ and [r["val_loss"] for r in pruned.history_] == [
        r["val_loss"] for r in whole.history_
    ]


def test_the_choice_is_by_the_validation_rows():
    """There the mean of the kept ones is at least as good as the mean of all."""
    X, y = numbers(300)
    X_val, y_val = numbers(200, seed=1)
    errors = {}
    for prune in (False, True):
        model = make("TabM", "Regressor", k=12, max_epochs=10, prune=prune).fit(
            X, y, X_val=X_val, y_val=y_val
        )
        errors[prune] = np.mean((model.predict(X_val) - y_val) ** 2)
    assert errors[True] <= errors[False]


def test_pruned_and_calibrated():
    """The temperature belongs to the predictions that are left."""
    X, y = numbers(300)
    labels = target(y, "Classifier")
    model = make("TabM", "Classifier", k=8, max_epochs=10, prune=True, calibrate=True)
    model.fit(X, labels, X_val=X, y_val=labels)
    x_num, x_cat = (
        torch.from_numpy(x)
        for x in model.encoder_.transform(read_columns(X, estimator_name="Test"))
    )
    outputs = model.module_(x_num, x_cat).detach()
    answers = BinaryTarget(model.classes_, None, "Test")
    answers.calibrate(outputs, torch.from_numpy(labels[:, None]).float(), None)
    assert outputs.shape[1] < 8
    assert model.temperature_ == pytest.approx(answers.temperature.item(), rel=1e-4)


def test_pruning_without_validation_rows():
    X, y = numbers()
    with pytest.raises(
        ValueError,
        match="TabMRegressor: prune=True needs validation rows: early_stopping=True, or X_val",
    ):
        make("TabM", "Regressor", prune=True, early_stopping=False).fit(X, y)
