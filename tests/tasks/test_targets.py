"""The loss of the answer that K predictions give together."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from tabdl.tasks.targets import BinaryTarget, MulticlassTarget, MultilabelTarget, RegressionTarget

K, N = 4, 60


def drawn(n_outputs):
    return 3 * torch.randn(
        N, K, n_outputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


@pytest.mark.parametrize("n_classes", [2, 5])
def test_loss_of_averaged_probabilities(n_classes):
    y = np.arange(N) % n_classes
    kind = BinaryTarget if n_classes == 2 else MulticlassTarget
    target = kind(np.arange(n_classes), None, "Owner")
    outputs = drawn(target.n_outputs)
    encoded = torch.from_numpy(target.encode(y, np.float64))
    assert target.val_loss(outputs, encoded).mean().item() == pytest.approx(
        log_loss(y, target.probabilities(outputs))
    )
    assert target.val_loss(outputs, encoded).mean() < target.loss(outputs, encoded).mean()


def test_loss_of_averaged_labels():
    target = MultilabelTarget(3, "Owner")
    y, outputs = np.random.default_rng(0).integers(0, 2, (N, 3)), drawn(3)
    expected = np.mean([log_loss(y[:, j], target.probabilities(outputs)[:, j]) for j in range(3)])
    assert target.val_loss(
        outputs, torch.from_numpy(target.encode(y, np.float64))
    ).mean().item() == pytest.approx(expected)


def test_loss_of_averaged_values():
    y = np.random.default_rng(0).normal(5, 2, N)
    target, outputs = RegressionTarget(y, np.ones(N), "squared_error", 0.5, 1.0, "Owner"), drawn(1)
    expected = ((target.values(outputs) - y) ** 2).mean() / target.std[0] ** 2
    assert target.val_loss(
        outputs, torch.from_numpy(target.encode(y, np.float64))
    ).mean().item() == pytest.approx(expected)


@pytest.mark.parametrize("logit", [50.0, -50.0])
def test_a_small_probability_is_not_zero(logit):
    """That of the other class, of two, is no difference from one."""
    target = BinaryTarget(np.arange(2), None, "")
    outputs = torch.tensor([[[logit]]], dtype=torch.float64)
    probabilities = target.probabilities(outputs)
    expected = np.exp(target.log_probabilities(outputs))
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12)
    assert 0 < probabilities.min() < 1e-21
