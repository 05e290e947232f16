"""The synthetic tables of the paper's section 5.1."""

import numpy as np
import pytest

from benchmarks import run
from benchmarks.errors import HarnessError
from benchmarks.tables import synthetic
from benchmarks.tables.datasets import load, sample, tables_of

SIZES = (3000, 300, 600)


def table(alpha, seed=0):
    return synthetic.synthetic("table", alpha, SIZES, seed)


def targets(seed=0):
    """The network and the trees of a table."""
    of_network, of_trees = (np.random.default_rng([seed, i]) for i in (1, 2))
    return synthetic.random_network(of_network), [
        synthetic.random_tree(of_trees) for _ in range(30)
    ]


def correlation(dataset, target):
    return np.corrcoef(dataset.train[1], target)[0, 1]


def test_rows_are_normal_and_targets_standardised():
    dataset = table(0.5)
    assert [len(X) for X, _ in dataset.train_val_test] == list(SIZES)
    X, y = dataset.train
    numbers = X.to_numpy(np.float64)
    assert numbers.shape == (3000, 100) and dataset.numeric_transform == "none"
    assert abs(numbers.mean()) < 0.01 and abs(numbers.std() - 1) < 0.01
    assert np.abs(np.corrcoef(numbers.T) - np.eye(100)).max() < 0.1
    assert abs(y.mean()) < 1e-6 and abs(y.std(ddof=0) - 1) < 1e-6
    assert abs(dataset.test[1].std() - 1) < 0.2


def test_alpha_parts_the_two_targets():
    weights, trees = targets()
    deep, half, tree = (table(alpha) for alpha in (0.0, 0.5, 1.0))
    X = deep.train[0].to_numpy()
    y_deep, y_tree = synthetic.deep_target(X, weights), synthetic.tree_target(X, trees)
    assert correlation(deep, y_deep) == pytest.approx(1) == correlation(tree, y_tree)
    assert abs(correlation(deep, y_tree)) < 0.3
    mixed = deep.train[1] + tree.train[1]
    np.testing.assert_allclose(half.train[1], mixed / mixed.std(ddof=0), atol=1e-5)
    for X_other in (half.train[0], tree.train[0]):
        assert deep.train[0].equals(X_other)


def test_only_fifty_numbers_matter():
    weights, trees = targets()
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 100))
    other, changed = X.copy(), X.copy()
    other[:, 50:] = rng.standard_normal((400, 50))
    changed[:, :50] = other[:, 50:]
    for target, of_what in ((synthetic.deep_target, weights), (synthetic.tree_target, trees)):
        assert np.array_equal(target(X, of_what), target(other, of_what))
        assert not np.allclose(target(X, of_what), target(changed, of_what))
    assert set(np.concatenate([tree.feature for tree in trees])) == set(range(50))


def test_trees_are_the_paper_s():
    _, trees = targets()
    X = np.random.default_rng(0).standard_normal((50, 100))
    for tree in trees:
        is_leaf = tree.children[:, 0] == np.arange(len(tree.value))
        assert len(tree.value) == 99 and is_leaf.sum() == 50
        assert tree.depth.max() <= 10
        assert np.array_equal(np.unique(tree.children[~is_leaf]), np.arange(1, 99))
        assert np.array_equal(tree(X), [one_by_one(tree, x) for x in X])
    assert max(tree.depth.max() for tree in trees) == 10


def one_by_one(tree, x):
    node = 0
    while tree.children[node, 0] != node:
        left, right = tree.children[node]
        node = left if x[tree.feature[node]] < tree.threshold[node] else right
    return tree.value[node]


def test_weights_are_kaiming_s():
    weights, _ = targets()
    assert [w.shape for w in weights] == [(50, 256), (256, 256), (256, 256), (256, 1)]
    for weight in weights[:-1]:
        assert weight.std() == pytest.approx(np.sqrt(2 / len(weight)), rel=0.02)


def test_a_seed_is_a_table():
    one, again, other = table(0.25), table(0.25), table(0.25, seed=1)
    assert one.checksums == again.checksums != other.checksums
    assert one.checksums != table(0.5).checksums


def test_pieces_do_not_show(monkeypatch):
    whole = table(0.75)
    monkeypatch.setattr(synthetic, "PIECE", 700)
    np.testing.assert_allclose(whole.test[1], table(0.75).test[1], atol=1e-6)


def test_tables_of_the_harness():
    assert synthetic.sizes_of() == (500_000, 50_000, 100_000)
    assert tables_of("synthetic")[1] == "alpha_0.25"
    dataset = load(sample("alpha_0.25", "synthetic", 110, 3))
    assert [len(X) for X, _ in dataset.train_val_test] == [100, 10, 20]
    assert dataset.name == "alpha_0.25.110.draw3"
    with pytest.raises(HarnessError, match="alpha_0.3"):
        load(sample("alpha_0.3", "synthetic", 110))
    with pytest.raises(HarnessError, match="not changed by holes"):
        load(sample("alpha_1", "synthetic", 110, change="holes"))


def test_the_study_writes_a_table_and_a_figure(tmp_path, capsys):
    command = ["study", "synthetic", "--rows", "220", "--only", "catboost", "resnet", "--tables"]
    command += ["alpha_0", "alpha_1", "--time-limit", "0.3", "--device", "cpu", "--out"]
    assert run.main([*command, str(tmp_path)]) == 0
    text = (tmp_path / "report" / "synthetic.md").read_text()
    assert text in capsys.readouterr().out
    heads, _, first, last = [line for line in text.splitlines() if line.startswith("|")]
    assert heads.startswith("| alpha | CatBoost | CatBoost, paper | ResNet |")
    assert first.startswith("| 0 |") and last.endswith("| 0.646 ± 0.036 |")
    assert (tmp_path / "report" / "synthetic.png").stat().st_size > 5000
