"""The synthetic tables of Gorishniy et al. 2021, section 5.1: from a target that suits a network to
one that suits boosted trees.

Rows are x ~ N(0, I) with 100 numbers. A random network and the mean of random trees make two
targets of the first 50, each standardised by its training rows; alpha parts them::

    y = alpha * tree(x) + (1 - alpha) * deep(x)

and y is standardised again. Where the text of the paper and its code differ, this is the code:

- hidden layers have no biases; the supplement draws these uniformly;
- trees split on the 50 numbers that the network sees; the supplement says on all 100;
- a tree has 99 nodes at most, as two of 100 must be unused for a split.

The bias of the network's last layer is left out: standardising removes it. The generators are
numpy's, so the tables are others than the authors' with the same distribution.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from benchmarks.tables.splits import Dataset, parts_of

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
TABLES = {f"alpha_{alpha:g}": alpha for alpha in ALPHAS}
"""By the names of the tables."""
FULL_ROWS = 550_000
"""Training and validation rows of the paper."""
N_FEATURES, N_INFORMATIVE = 100, 50
N_LAYERS, D_HIDDEN = 3, 256
N_TREES, MAX_DEPTH, MAX_NODES = 30, 10, 100
PIECE = 20_000
"""Rows that are evaluated at once, so that a full table needs little memory beside its own."""


@dataclass(frozen=True)
class Tree:
    """A decision tree of which each node has a place in arrays; 0 is the root.

    Attributes
    ----------
    feature : ndarray of shape (n_nodes,), int
    threshold : ndarray of shape (n_nodes,)
        A row whose number is less goes left.
    children : ndarray of shape (n_nodes, 2), int
        Left and right; a leaf is its own child.
    value : ndarray of shape (n_nodes,)
        What a row gets that ends there.
    depth : ndarray of shape (n_nodes,), int
        Of the root 0.
    """

    feature: np.ndarray
    threshold: np.ndarray
    children: np.ndarray
    value: np.ndarray
    depth: np.ndarray

    def __call__(self, X):
        """Return the values of rows (N, F): (N,)."""
        rows, node = np.arange(len(X)), np.zeros(len(X), np.intp)
        for _ in range(self.depth.max()):
            is_right = X[rows, self.feature[node]] >= self.threshold[node]
            node = self.children[node, is_right.astype(np.intp)]
        return self.value[node]


def random_tree(rng):
    """Return a tree: leaves drawn uniformly are split while two nodes are unused."""
    children = np.repeat(np.arange(MAX_NODES)[:, None], 2, axis=1)
    depth = np.zeros(MAX_NODES, np.intp)
    leaves = [0]
    n_nodes = 1
    while n_nodes + 2 <= MAX_NODES:
        place = rng.integers(len(leaves))
        node = leaves[place]
        if depth[node] == MAX_DEPTH:
            continue
        children[node] = new = [n_nodes, n_nodes + 1]
        depth[new] = depth[node] + 1
        leaves[place : place + 1] = new
        n_nodes += 2
    return Tree(
        rng.integers(N_INFORMATIVE, size=n_nodes),
        rng.standard_normal(n_nodes),
        children[:n_nodes],
        rng.standard_normal(n_nodes),
        depth[:n_nodes],
    )


def random_network(rng):
    """Return the weights of the deep target, each (d_in, d_out): Kaiming's normal distribution,
    with deviation sqrt(2 / d_in)."""
    widths = [N_INFORMATIVE, *[D_HIDDEN] * N_LAYERS, 1]
    return [rng.standard_normal(pair) * np.sqrt(2 / pair[0]) for pair in pairwise(widths)]


def deep_target(X, weights):
    """Return what a network with ReLU makes of the first numbers of rows (N, F): (N,)."""
    hidden = X[:, :N_INFORMATIVE].astype(np.float64)
    for weight in weights[:-1]:
        hidden = np.maximum(hidden @ weight, 0)
    return (hidden @ weights[-1])[:, 0]


def tree_target(X, trees):
    """Return the mean of the trees' values of rows (N, F): (N,)."""
    return np.mean([tree(X) for tree in trees], axis=0)


def sizes_of(rows=None):
    """Return training, validation and test rows in the paper's proportion, 10 to 1 to 2.

    Parameters
    ----------
    rows : int, optional
        Training and validation rows; the paper's 550,000 by default.
    """
    rows = FULL_ROWS if rows is None else rows
    n_train = rows * 10 // 11
    return n_train, rows - n_train, rows * 2 // 11


def synthetic(name, alpha, sizes, seed=0):
    """Return a table; those of one seed differ in alpha alone, not in rows, network or trees.

    Parameters
    ----------
    name : str
        What to call it.
    alpha : float
        The part of the trees in the target, from 0 to 1.
    sizes : tuple of (int, int, int)
        Training, validation and test rows.
    seed : int

    Returns
    -------
    Dataset
        A regression of float32 numbers that a network takes as they are.
    """
    of_rows, of_network, of_trees = (np.random.default_rng([seed, i]) for i in range(3))
    X = of_rows.standard_normal((sum(sizes), N_FEATURES), np.float32)
    deep = _by_pieces(deep_target, X, random_network(of_network))
    tree = _by_pieces(tree_target, X, [random_tree(of_trees) for _ in range(N_TREES)])
    deep, tree = (_standardise(target, sizes[0]) for target in (deep, tree))
    # Sums of products differ in their last bits from machine to machine: float32 hides that.
    y = _standardise(alpha * tree + (1 - alpha) * deep, sizes[0]).astype(np.float32)
    frame = pd.DataFrame(X, columns=[f"n{i}" for i in range(N_FEATURES)], copy=False)
    target = pd.Series(y.astype(np.float64), name="target")
    parts = [slice(*pair) for pair in pairwise(np.cumsum([0, *sizes]))]
    three = parts_of(frame, target, parts)
    return Dataset(name, "regression", *three, numeric_transform="none")


def _by_pieces(target, X, of_what):
    pieces = range(0, len(X), PIECE)
    return np.concatenate([target(X[start : start + PIECE], of_what) for start in pieces])


def _standardise(target, n_train):
    """Return a target with mean 0 and deviation 1 over its training rows, which come first."""
    return (target - target[:n_train].mean()) / target[:n_train].std()
