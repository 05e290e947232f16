"""How much memory a fit will take, before it takes it.

The network is built, and two passes of a few rows go through it, forward and backward. Every tensor
that they make is counted until it dies. The memory of a larger step lies on the line through both.
"""

import weakref
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tabdl.base.estimator import TabularEstimator, rows_of_step
from tabdl.base.fitted import new_net
from tabdl.base.isolation import isolated_torch
from tabdl.data.statistics import statistic_names
from tabdl.data.table import Schema, Table

# What the first fit of a process loads beside the table, libraries and their buffers: in all, and
# before the first step.
_LIBRARIES = 105 * 2**20
_FIRST_LIBRARIES = 40 * 2**20
# A step takes more than its tensors: copies inside of operations, and gaps between blocks.
_GAPS = 1.35
# Rows from which embeddings learn bins: more add nothing.
_MOST_BIN_ROWS = 5_000
_FEW_ROWS = 64


def estimate_memory(
    estimator: TabularEstimator,
    n_rows: int,
    n_numbers: int,
    n_categories: int = 0,
    *,
    n_values: int = 20,
    n_outputs: int = 1,
) -> int:
    """Return about how much memory ``fit`` will take on a CPU at its peak, in bytes.

    It is what comes to the process after the import of tabdl and the table of the user. Nothing is
    trained. Peaks that were measured lie within a factor of 1.5.

    Parameters
    ----------
    estimator : estimator of tabdl with a network
        Fitted or not.
    n_rows : int
        Rows of X, validation rows included.
    n_numbers, n_categories : int
        Columns of numbers (dates count as up to seven), and of categories.
    n_values : int
        Different values of a column of categories.
    n_outputs : int
        Classes from three on, labels or targets; 1 for two classes or one target.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        For an estimator without a network of tabdl, such as an ensemble.

    Examples
    --------
    >>> from tabdl import TabMLPRegressor
    >>> from tabdl.inspection import estimate_memory
    >>> estimate_memory(TabMLPRegressor(), 100_000, 20) < 2**30
    True
    """
    if not isinstance(estimator, TabularEstimator):
        raise TypeError(
            f"estimate_memory: estimator must have a network of tabdl, got "
            f"{type(estimator).__name__}; of an ensemble, ask for its members."
        )
    statistics = [
        name
        for j in range(n_categories)
        for name in statistic_names(f"c{j}", estimator.categorical_statistics, n_values, n_outputs)
    ]
    schema = Schema(
        (*(f"n{j}" for j in range(n_numbers)), *statistics),
        tuple(f"c{j}" for j in range(n_categories)),
        (n_values + 1,) * n_categories,
    )
    size = 8 if estimator.precision == "float64" else 4
    held_out = estimator.validation_fraction if estimator.early_stopping else 0.0
    n_train = max(1, round(n_rows * (1 - held_out)))
    with isolated_torch():
        net = _network(estimator, schema, n_train, n_outputs, size)
        weights = sum(parameter.numel() for parameter in net.parameters()) * size
        step = _GAPS * _step(estimator, net, schema, n_train)
        adapting = _adapting(net, schema, n_train)
    # Numbers are read as float64; a category is an object, and its code mostly a byte.
    table = n_rows * (n_numbers * (8 + size) + n_categories * (8 + 1))
    # Statistics, their sums and what they are made of, while they are learned.
    table += n_rows * len(statistics) * (size + 4 * 8)
    # Random orders of the rows, which are stacked twice.
    table += n_train * net.n_batch_streams * 8 * 3
    outputs = 2 * (n_rows - n_train) * net.n_vectors_per_row * n_outputs * size
    # Weights and their best state of each member, two moments of one; a step has the gradients.
    training = _LIBRARIES + weights * (2 * estimator.n_members + 2) + outputs + step
    return round(table + max(training, _FIRST_LIBRARIES + adapting))


def _network(estimator: Any, schema: Schema, n_rows: int, n_outputs: int, size: int) -> Any:
    """Return the network with any weights, whose numbers have ``size`` bytes."""
    rows = _rows_like(estimator, schema, n_rows, n_outputs)
    net = new_net(estimator, schema, n_outputs, rows, torch.Generator().manual_seed(0))
    return net.double() if size == 8 else net


def _rows_like(estimator: Any, schema: Schema, n_rows: int, n_outputs: int) -> Table:
    """Return rows of which embeddings make as many bins as they may."""
    n_rows = min(n_rows, _MOST_BIN_ROWS)
    ramp = torch.linspace(-2, 2, n_rows)
    # Neighbours differ, so that a decision tree goes on to split.
    classes = torch.arange(n_rows) * 200 // n_rows % 2
    y = classes if is_classifier(estimator) else ramp.unsqueeze(1).expand(-1, n_outputs)
    codes = [torch.arange(n_rows) % (size - 1) for size in schema.cardinalities]
    x_cat = torch.stack(codes, 1) if codes else torch.empty(n_rows, 0)
    return Table(ramp.unsqueeze(1).expand(-1, schema.n_num), x_cat.int(), y)


def _step(estimator: Any, net: Any, schema: Schema, n_rows: int) -> int:
    """Return the most memory that a step takes at once."""
    n_batch = min(rows_of_step(estimator, n_rows), n_rows) * net.n_batch_streams
    n_step = min(n_batch, net.cpu_step_rows or n_batch)
    batch = n_batch * (4 * schema.n_num + len(schema.cardinalities) + 8)
    return batch + _peak(net.train(), schema, n_step, has_gradients=True)


def _adapting(net: Any, schema: Schema, n_rows: int) -> int:
    """Return the most memory that it takes to adapt the first weights to the training rows."""
    if not net.adapts_to_data or net.n_adapt_rows == 0:
        return 0
    return _peak(net.eval(), schema, min(n_rows, net.n_adapt_rows), has_gradients=False)


def _peak(net: Any, schema: Schema, n_rows: int, has_gradients: bool) -> int:
    """Return the peak of a pass of ``n_rows`` rows.

    What lives after an operation grows with the rows on a line, which two small passes give.
    """
    few = min(n_rows, _FEW_ROWS * net.n_batch_streams)
    low, high = (_course(net, schema, rows, has_gradients) for rows in (few, 2 * few))
    if len(low) != len(high):
        # Operations were chosen by the number of rows.
        low, high = np.max(low, keepdims=True), np.max(high, keepdims=True)
    return int(np.max(low + (high - low) * (n_rows / few - 1)))


def _course(net: Any, schema: Schema, n_rows: int, has_gradients: bool) -> np.ndarray:
    """Return how many bytes live after each operation of a pass, forward and backward."""
    x_num = torch.zeros(n_rows, schema.n_num, dtype=next(net.parameters()).dtype)
    x_cat = torch.zeros(n_rows, len(schema.cardinalities), dtype=torch.int32)
    # So that each pass makes the gradients, and counts them.
    net.zero_grad(set_to_none=True)
    # Dropout draws from torch's global generator here.
    with (
        torch.random.fork_rng(devices=[]),
        torch.set_grad_enabled(has_gradients),
        LiveTensors() as live,
    ):
        outputs = net(x_num, x_cat)
        if has_gradients:
            outputs.sum().backward()
    return np.array(live.course)


class LiveTensors(TorchDispatchMode):
    """Counts the memory of the tensors that operations make while the context is open.

    Attributes
    ----------
    course : list of int
        The bytes that live after each operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.course: list[int] = []
        self._now = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it has made."""
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor):
                self._count(made.untyped_storage())
        self.course.append(self._now)
        return result

    def _count(self, storage):
        number = id(storage)
        if number in self._seen:
            return
        self._seen.add(number)
        n_bytes = storage.nbytes()
        self._now += n_bytes
        weakref.finalize(storage, self._forget, number, n_bytes)

    def _forget(self, number, n_bytes):
        self._seen.discard(number)
        self._now -= n_bytes
