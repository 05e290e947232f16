"""Predictions of each default estimator on a fixed tiny table. To change them is a decision:
``python tests/test_golden.py``."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import NETWORKS, people, target

import tabdl

PATH = Path(__file__).parent / "golden.json"


def predictions(name):
    X, y = people(60)
    model = getattr(tabdl, name)(max_epochs=3, random_state=0, precision="float32")
    if name.endswith("Classifier"):
        return model.fit(X, target(y - 3, "Classifier")).predict_proba(X)[:10, 1].tolist()
    return model.fit(X, y).predict(X)[:10].tolist()


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_are_those_that_were_stored(name):
    # Another processor sums in another order.
    np.testing.assert_allclose(predictions(name), json.loads(PATH.read_text())[name], rtol=2e-3)


if __name__ == "__main__":
    PATH.write_text(json.dumps({name: predictions(name) for name in NETWORKS}, indent=1) + "\n")
