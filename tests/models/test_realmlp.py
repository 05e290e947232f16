"""RealMLP's parts beside the paper's formulas (2407.04491, section 3 and table A.1)."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make, numbers, people, some_rows, target
from torch.nn import functional

from tabdl import RealMLPClassifier, RealMLPRegressor
from tabdl.data.table import Schema, Table
from tabdl.models.realmlp import NTKLinear, RobustOneHot
from tabdl.network.contract import decayed_names, init_weights, lr_factors

SCHEMA = Schema(("a", "b", "c"), ("d", "e"), (4, 40))


def rows(n_rows=500, n_outputs=1):
    table = some_rows(SCHEMA, n_rows)
    y = torch.randn(
        n_rows, n_outputs, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    return Table(table.x_num.double(), table.x_cat, y)


def net_of(estimator, n_outputs=1, adapted=True):
    table, generator = rows(n_outputs=n_outputs), torch.Generator().manual_seed(0)
    net = estimator._build_net(SCHEMA, n_outputs, table).double()
    init_weights(net, generator)
    if adapted:
        net.init_from_data(table, generator)
    return net, table


def smooth_clip(z):
    return z / np.sqrt(1 + (z / 3) ** 2)


def one_hot(x_cat, cardinalities, weight=None):
    module = RobustOneHot(cardinalities)
    init_weights(module, torch.Generator())
    module.init_from_codes(np.asarray(x_cat, dtype=np.uint8), weight)
    return module


def test_one_hot_columns_are_scaled_as_numbers_are():
    codes = np.repeat([0, 1, 2], [60, 30, 10])[:, None]
    module = one_hot(codes, [4])
    seen = module(torch.arange(4, dtype=torch.uint8)[:, None]).numpy()  # code 3 is new
    raw = np.eye(4)[:, :3]
    for j, column in enumerate(raw[codes[:, 0], :3].T):
        low, median, high = np.quantile(column, [0.25, 0.5, 0.75])
        scale = high - low or (column.max() - column.min()) / 2
        np.testing.assert_allclose(seen[:, j], smooth_clip((raw[:, j] - median) / scale), rtol=1e-6)


def test_two_values_are_one_column():
    module = one_hot(np.repeat([0, 1], [40, 60])[:, None], [3])
    assert module.widths == [1]
    # 1 and -1 with a median of -1 and an interquartile range of 2; a new value is 0 in between.
    expected = smooth_clip(np.array([1.0, 0.0, 0.5]))
    np.testing.assert_allclose(
        module(torch.tensor([[0], [1], [2]], dtype=torch.uint8))[:, 0], expected, rtol=1e-6
    )


def test_constant_categories_say_nothing_and_weights_count_rows():
    assert one_hot(np.zeros((10, 1)), [2])(
        torch.tensor([[0], [1]], dtype=torch.uint8)
    ).tolist() == [[0], [0]]
    codes = np.array([[0], [1], [2], [0]])
    weighted, repeated = (
        one_hot(codes, [4], np.array([1.0, 5.0, 1.0, 1.0])),
        one_hot(np.vstack([codes, [[1]] * 4]), [4]),
    )
    torch.testing.assert_close(weighted.values, repeated.values)


def test_columns_stand_beside_each_other():
    codes = np.random.default_rng(0).integers(0, [2, 3, 5], (200, 3))
    module = one_hot(codes, [3, 4, 6])
    assert module.widths == [1, 3, 5]
    alone = [
        one_hot(codes[:, [i]], [size])(torch.tensor(codes[:, [i]]))
        for i, size in enumerate([3, 4, 6])
    ]
    torch.testing.assert_close(module(torch.tensor(codes)), torch.cat(alone, 1))


def plain_forward(net, x, activation):
    scale, *layers = net.backbone
    x = x * scale.weight
    for linear, parametric in zip(layers[::3], layers[1::3], strict=True):
        x = x @ linear.weight.T / math.sqrt(linear.in_features) + linear.bias
        x = x + parametric.weight * (activation(x) - x)
    return x @ net.head.weight.T / math.sqrt(net.head.in_features) + net.head.bias


@pytest.mark.parametrize(
    "name, activation", [("selu", torch.selu), ("mish", functional.mish), ("relu", torch.relu)]
)
def test_the_network_is_its_formula(name, activation):
    net, table = net_of(RealMLPRegressor(activation=name, d_block=20), n_outputs=2)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
    net.train()
    for layer in net.backbone[3::3]:
        layer.threshold = 0  # no dropout
    outputs = net(table.x_num, table.x_cat)[:, 0]
    torch.testing.assert_close(
        outputs, plain_forward(net, net.embedding(table.x_num, table.x_cat), activation)
    )
    clamped = net.eval()(table.x_num, table.x_cat)[:, 0]
    torch.testing.assert_close(clamped, outputs.clamp(table.y.amin(0), table.y.amax(0)))
    assert not torch.equal(clamped, outputs)


def test_one_logit_is_the_difference_of_two():
    net, table = net_of(RealMLPClassifier(d_block=20), n_outputs=1)
    two = plain_forward(net, net.embedding(table.x_num, table.x_cat), torch.selu)
    assert two.shape == (500, 2)
    codes = torch.arange(500) % 2
    logit = net.eval()(table.x_num, table.x_cat)[:, 0, 0]
    expected = functional.cross_entropy(two, codes)
    torch.testing.assert_close(
        functional.binary_cross_entropy_with_logits(logit, codes.double()), expected
    )


def test_weights_begin_with_outputs_of_variance_one_and_bends_among_the_rows():
    net, table = net_of(RealMLPRegressor(d_block=64))
    x = net.embedding(table.x_num, table.x_cat)
    n_layers = 0
    for layer in [*net.backbone.eval(), net.head]:
        if isinstance(layer, NTKLinear):
            n_layers += 1
            linear_part = layer(x) - layer.bias
            torch.testing.assert_close(
                linear_part.var(0, correction=0), torch.ones(len(layer.bias), dtype=torch.float64)
            )
            # A mean of five rows' outputs: among them, and of less variance.
            assert (-layer.bias >= linear_part.amin(0)).all() and (
                -layer.bias <= linear_part.amax(0)
            ).all()
            if len(layer.bias) > 1:
                centred = layer.bias + linear_part.mean(0)
                assert 0.25 < centred.std() < 0.9  # five weights of a simplex: about sqrt(1/3)
        x = layer(x)
    assert n_layers == 4


def test_adapting_needs_no_spread():
    """Where all rows are equal, weights stay as they were drawn."""
    net, table = net_of(RealMLPRegressor(d_block=8), adapted=False)
    same = Table(table.x_num[:1].expand(20, -1), table.x_cat[:1].expand(20, -1), table.y[:20])
    net.init_from_data(same, torch.Generator().manual_seed(0))
    assert all(parameter.isfinite().all() for parameter in net.parameters())


def test_factors_and_decay():
    net, _ = net_of(RealMLPClassifier())
    expected = {"scale": 6.0, "bias": 0.1, "activation": 0.1, "embedding.num": 0.1}
    kinds = {}
    for name, factor in lr_factors(net).items():
        module = net.get_submodule(name.rpartition(".")[0])
        if name.startswith("embedding.num"):
            kind = "embedding.num"
        elif isinstance(module, NTKLinear):
            kind = name.rpartition(".")[2]
        else:
            kind = {
                "Scale": "scale",
                "ParametricActivation": "activation",
                "NormalVectors": "vectors",
            }[type(module).__name__]
        kinds.setdefault(kind, set()).add(factor)
        assert (name in decayed_names(net)) == (kind != "bias"), name
    assert kinds == {
        **{kind: {factor} for kind, factor in expected.items()},
        "weight": {1.0},
        "vectors": {1.0},
    }


def test_the_config_is_the_papers():
    config = RealMLPRegressor()._training_config(1000, torch.device("cpu"), None, [])
    assert (config.lr, config.beta2, config.weight_decay, config.batch_size) == (
        0.2,
        0.95,
        0.02,
        256,
    )
    assert config.lr_schedule == "coslog4"
    assert config.dropout_schedule == config.weight_decay_schedule == "flat_cosine"
    assert (
        config.max_epochs == config.patience == 256 and config.drop_last and config.takes_last_best
    )


def test_smoothing_is_for_accuracy_alone():
    X, y = numbers(200)
    model = make("RealMLP", "Classifier", max_epochs=3)
    for metric, smoothing in (("accuracy", 0.1), (None, 0.0), ("roc_auc", 0.0)):
        auto = copy.deepcopy(model).set_params(scoring=metric).fit(X, y > 0).predict_proba(X)
        given = (
            copy.deepcopy(model)
            .set_params(scoring=metric, label_smoothing=smoothing)
            .fit(X, y > 0)
            .predict_proba(X)
        )
        np.testing.assert_array_equal(auto, given)


def test_predictions_stay_in_the_range_of_training():
    X, y = numbers(300)
    model = make("RealMLP", "Regressor", max_epochs=20).fit(X, y)
    far = model.predict(np.vstack([X * 1000, np.full((1, 4), 1e38)]))
    slack = 1e-5 * np.ptp(y)
    assert y.min() - slack <= far.min() and far.max() <= y.max() + slack and np.ptp(far) > 0


def test_outliers_of_the_target_and_rare_classes():
    X, y = people(200)
    y[3] = 1e6 * y.std()
    assert np.isfinite(
        RealMLPRegressor(max_epochs=4, d_block=16, random_state=0).fit(X, y).predict(X)
    ).all()
    labels = np.where(
        np.arange(200) == 5, "rare", np.where(X["age"].fillna(0) > 50, "old", "young")
    )
    model = RealMLPClassifier(max_epochs=4, d_block=16, early_stopping=False, random_state=0).fit(
        X, labels
    )
    assert model.predict_proba(X).shape == (200, 3)


def test_tables_without_numbers_or_without_categories():
    rng = np.random.default_rng(0)
    letters = pd.DataFrame(
        {"few": rng.choice(list("abc"), 300), "many": rng.choice([f"m{i}" for i in range(20)], 300)}
    )
    y = target(rng.normal(size=300), "Classifier")
    model = RealMLPClassifier(max_epochs=3, d_block=16, random_state=0).fit(letters, y)
    new = letters.assign(few="new", many=None)
    assert (
        np.isfinite(model.predict_proba(new)).all()
        and len(np.unique(model.predict_proba(new)[:, 0])) == 1
    )
    assert (
        RealMLPClassifier(max_epochs=3, d_block=16).fit(rng.normal(size=(300, 1)), y).n_features_in_
        == 1
    )
