"""A fitted estimator as an ONNX file: the encoder and the network in one graph.

=========== ======================================= ===============================================
column      input of the graph, each (rows, 1)      missing
=========== ======================================= ===============================================
number      float64; durations as seconds, times of NaN
            day as seconds since midnight, periods
            as days from 1970 to their beginning
datetime    int64, microseconds since 1970, in UTC  the smallest int64, as NaT of numpy
category    text, or float64 where all categories   ``MISSING_TEXT``, or NaN
            are numbers or booleans
empty       float64                                 NaN
=========== ======================================= ===============================================

An input has the name of its column. The outputs are ``predict`` and, of a classifier,
``predict_proba``. ``docs/guide/serving.md`` has examples.
"""

import contextlib
import copy
import importlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from tabdl.base.estimator import TabularEstimator
from tabdl.data.categories import CategoryEncoder
from tabdl.data.columns import Column
from tabdl.data.validation import read_X
from tabdl.ensemble.cross_val import CrossValEnsemble
from tabdl.ensemble.distillation import Distilled
from tabdl.ensemble.greedy import GreedyEnsemble
from tabdl.persistence.onnx_graph import (
    MISSING_TEXT,
    Graph,
    Value,
    category_form,
    decoded,
    encoded,
)

_OPSET = 20
_PREFIX = "tabdl/"
_OUTPUTS = ("predict", "predict_proba")
_DTYPES = {"number": np.float64, "moment": np.int64, "text": object}


@dataclass(frozen=True)
class _Input:
    """An input of the graph.

    Attributes
    ----------
    name : str
    form : {"number", "moment", "text"}
    """

    name: str
    form: str


def to_onnx(estimator: Any, path: str | os.PathLike[str], X_sample: Any) -> None:
    """Write a fitted estimator to an ONNX file that takes the columns of the user's table.

    The graph computes in float32, in float64 where ``precision="float64"``, never in bfloat16; the
    encoder is float64 as in tabdl. The number of rows is free. Unlike ``predict`` the graph does
    not check what it gets: infinite numbers give a prediction. Where onnxruntime is installed, its
    outputs for ``X_sample`` are compared with those of the estimator.

    Parameters
    ----------
    estimator : fitted estimator
        A network of tabdl, or a CrossValEnsemble or GreedyEnsemble of networks.
    path : str or path
        The file to write.
    X_sample : {array-like, data frame} of shape (n, F)
        Some rows with the columns of fit, such as the first ten. The graph is traced with them.

    Raises
    ------
    ImportError
        Without onnx and onnxscript, which ``pip install 'tabdl[onnx]'`` brings.
    NotFittedError
        Before ``fit``.
    TypeError
        For another estimator, or an ensemble with one.
    ValueError
        For a column that cannot be exported: categories that are neither text nor numbers, or
        integers beyond 2^53. For rows that are not those of fit.
    RuntimeError
        When onnxruntime gives other outputs than the estimator.

    Examples
    --------
    >>> import onnxruntime, tabdl
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = tabdl.TabMLPClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> tabdl.to_onnx(model, "iris.onnx", X[:10])  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("iris.onnx")  # doctest: +SKIP
    >>> session.run(None, tabdl.onnx_inputs(model, X[:3]))  # doctest: +SKIP
    """
    onnx = _package("onnx")
    _package("onnxscript")
    feed = onnx_inputs(estimator, X_sample)
    shares = _shares(estimator)
    inputs = _inputs(estimator, [network for network, _ in shares])
    model = _model(onnx, estimator, shares, inputs)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    _compare(estimator, path, X_sample, feed)


def onnx_inputs(estimator: Any, X: Any) -> dict[str, np.ndarray]:
    """Return the rows of a table as the inputs of the graph of :func:`to_onnx`.

    Parameters
    ----------
    estimator : fitted estimator
        The one that was exported.
    X : {array-like, data frame} of shape (N, F)

    Returns
    -------
    dict from the name of a column to ndarray of shape (N, 1)
    """
    check_is_fitted(estimator)
    networks = [network for network, _ in _shares(estimator)]
    inputs = _inputs(estimator, networks)
    encoder = networks[0].encoder_
    columns = read_X(
        networks[0], X, kinds=encoder.kinds, column_names=encoder.column_names, name="X"
    )
    arrays = zip(inputs, columns, encoder.encoders, strict=True)
    return {own.name: _input_array(own, *rest)[:, None] for own, *rest in arrays}


def _input_array(own: _Input, column: Column, encoder: Any) -> np.ndarray:
    if own.form == "moment":
        return column.values.view(np.int64)
    if own.form == "number":
        return column.values.astype(np.float64)
    labels = [
        MISSING_TEXT if value is None or value != value else str(encoder.label(value))
        for value in column.values.tolist()
    ]
    return np.array(labels, dtype=object)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"to_onnx needs the package {name}; pip install 'tabdl[onnx]' brings it."
        ) from error


# --- what is exported


def _shares(estimator: Any) -> list[tuple[Any, float]]:
    """Return the networks that predict, and the share of each."""
    check_is_fitted(estimator)
    if isinstance(estimator, TabularEstimator):
        return [(estimator, 1.0)]
    if isinstance(estimator, CrossValEnsemble):
        refitted = estimator.refit_estimator_
        parts = [refitted] if refitted is not None else estimator.estimators_
        return [(net, share / len(parts)) for part in parts for net, share in _shares(part)]
    if isinstance(estimator, Distilled):
        return _shares(estimator.estimator_)
    if isinstance(estimator, GreedyEnsemble):
        weights = {name: weight for name, weight in estimator.weights_.items() if weight > 0}
        if external := [name for name in weights if name not in estimator.members_]:
            raise TypeError(
                f"{type(estimator).__name__}: to_onnx cannot export the predictions from elsewhere "
                f"{external}, which have no network; fit without oof_predictions."
            )
        return [
            (net, weight * share)
            for name, weight in weights.items()
            for net, share in _shares(estimator.members_[name])
        ]
    raise TypeError(
        f"to_onnx exports the networks of tabdl, and its ensembles of such networks, got a "
        f"{type(estimator).__name__}; export that one with its own library, or leave it out of the "
        "ensemble."
    )


def _inputs(estimator: Any, networks: Sequence[Any]) -> list[_Input]:
    """Return the inputs of the graph, one for each column."""
    first = networks[0].encoder_
    name_of = type(estimator).__name__
    for network in networks[1:]:
        if network.encoder_.kinds != first.kinds:
            raise ValueError(
                f"{name_of}: to_onnx needs columns of the same kinds in all networks, got "
                f"{first.kinds} and {network.encoder_.kinds}; set categorical_features."
            )
    inputs = []
    for j, (name, kind) in enumerate(zip(first.column_names, first.kinds, strict=True)):
        if name in _OUTPUTS:
            raise ValueError(
                f"{name_of}: column {name!r} has the name of an output of the graph; rename it."
            )
        encoders = [network.encoder_.encoders[j] for network in networks]
        if kind == "category":
            form = _category_form(encoders, f"{name_of}: column {name!r}")
            inputs.append(_Input(name, form))
        else:
            inputs.append(_Input(name, "moment" if kind == "datetime" else "number"))
    return inputs


def _category_form(encoders: Sequence[CategoryEncoder], where: str) -> str:
    """Return the form of a column of categories; raise ValueError where there is none."""
    form = category_form(encoders)
    values = [value for encoder in encoders for value in encoder.codes]
    if form == "text" and MISSING_TEXT in values:
        raise ValueError(
            f"{where} has the category {MISSING_TEXT!r}, which stands for a missing value in the "
            "graph; call it otherwise."
        )
    if form is None:
        value = next(value for value in values if not isinstance(value, float))
        what = "integers beyond 2^53" if isinstance(value, int) else type(value).__name__
        raise ValueError(
            f"{where} has categories that to_onnx cannot export: {what}, for example {value!r}; "
            "text and numbers are allowed, so turn the column into text before fit."
        )
    return form


# --- the graph


def _model(
    onnx: Any, estimator: Any, shares: Sequence[tuple[Any, float]], inputs: Sequence[_Input]
) -> Any:
    """Return the ModelProto: the members side by side, then the mean of what they predict."""
    graph = Graph(onnx, _PREFIX)
    columns = {own.name: Value(graph, own.name, np.dtype(_DTYPES[own.form])) for own in inputs}
    classes = getattr(estimator, "classes_", None)
    parts = [
        _predictions(graph, columns, network, f"{_PREFIX}{i}/", classes)
        for i, (network, _) in enumerate(shares)
    ]
    weights = [share for _, share in shares]
    deciding, prediction = (_weighted_sum(values, weights) for values in zip(*parts, strict=True))
    # An ensemble decides by its calibrated probabilities, a network alone by its own.
    deciding = deciding if len(parts) == 1 else prediction
    target = shares[0][0].target_
    if classes is None:
        outputs = {"predict": _flat(prediction) if target.is_1d else prediction}
    else:
        labels = _decided(deciding, target, classes, type(estimator).__name__)
        outputs = {"predict": labels, "predict_proba": prediction}
    n = target.n_outputs if classes is None else len(classes)
    is_2d = type(target).__name__ == "MultilabelTarget" or (classes is None and not target.is_1d)
    widths = {"predict": [n] if is_2d else [], "predict_proba": [n]}
    return _model_proto(onnx, graph, inputs, outputs, widths)


def _predictions(
    graph: Graph, columns: dict[str, Value], network: Any, prefix: str, classes: Any
) -> tuple[Value, Value]:
    """Return what decides the class, and what is predicted by one network, (N, C) float64."""
    net = copy.deepcopy(network.module_).cpu().eval()
    dtype = next(net.parameters()).dtype
    numpy_dtype = np.float64 if dtype == torch.float64 else np.float32
    x_num, x_cat = encoded(columns, network.encoder_, numpy_dtype)
    outputs = _insert(graph, _exported(net, network.encoder_.schema, dtype), (x_num, x_cat), prefix)
    found = decoded(Value(graph, outputs, np.dtype(numpy_dtype)), network.target_)
    if classes is None or len(classes) == len(network.target_.classes):
        return found
    # The fold lacked classes, which have the probability 0.
    place = np.eye(len(classes))[np.searchsorted(classes, network.target_.classes)]
    places = graph.constant(place, np.float64)
    deciding, prediction = (graph.add("MatMul", value, places, dtype=np.float64) for value in found)
    return deciding, prediction


def _exported(net: torch.nn.Module, schema: Any, dtype: torch.dtype) -> Any:
    """Return the ModelProto of a network."""
    n_rows = 7  # a sample of one row would make a graph for one row
    sample = (
        torch.zeros(n_rows, schema.n_num, dtype=dtype),
        torch.zeros(n_rows, len(schema.cat_names), dtype=torch.int64),
    )
    rows = {0: torch.export.Dim("rows", min=1)}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            net,
            sample,
            dynamo=True,
            dynamic_shapes=(rows, rows),
            input_names=["x_num", "x_cat"],
            output_names=["outputs"],
            opset_version=_OPSET,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter says of itself: old names, and the rows that inputs share."""
    # They tell of each package of torch that is not installed, and of each node left as it is.
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name: rows will not be used", UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _insert(graph: Graph, model: Any, inputs: Sequence[Value], prefix: str) -> str:
    """Put the nodes of a network into the graph, and return the name of its output."""
    own = model.graph
    name_of = dict(zip((value.name for value in own.input), (v.name for v in inputs), strict=False))
    for node in own.node:
        for names in (node.input, node.output):
            names[:] = [name and name_of.get(name, prefix + name) for name in names]
        node.name = prefix + node.name
    for constant in own.initializer:
        constant.name = prefix + constant.name
    graph.nodes += own.node
    graph.constants += own.initializer
    return prefix + own.output[0].name


def _weighted_sum(values: Sequence[Value], weights: Sequence[float]) -> Value:
    if len(values) == 1:
        return values[0]
    total, *others = (value * weight for value, weight in zip(values, weights, strict=True))
    for other in others:
        total = total + other
    return total


def _flat(values: Value) -> Value:
    return values.graph.add(
        "Squeeze", values, values.graph.constant([1], np.int64), dtype=np.float64
    )


def _decided(deciding: Value, target: Any, classes: np.ndarray, estimator_name: str) -> Value:
    """Return the class of each row, (N,), or of several labels a row 0 and 1, (N, C)."""
    if type(target).__name__ == "MultilabelTarget":
        return (deciding > 0.5).to(np.int64)
    number = deciding.of("ArgMax", np.int64, axis=1, keepdims=0)
    labels = classes.tolist()
    if all(isinstance(label, str) for label in labels):
        return number.of(
            "LabelEncoder",
            object,
            domain="ai.onnx.ml",
            keys_int64s=list(range(len(labels))),
            values_strings=labels,
        )
    for dtype, kinds in ((bool, bool), (np.int64, int), (np.float64, float)):
        if all(isinstance(label, kinds) for label in labels) and abs(labels[-1]) < 2**63:
            return number.graph.constant(labels, dtype).at(number)
    raise ValueError(
        f"{estimator_name}: to_onnx exports classes that are text, booleans, or numbers up to "
        f"2^63, got {labels[-1]!r} of the type {type(labels[-1]).__name__}; fit with text."
    )


def _model_proto(
    onnx: Any,
    graph: Graph,
    inputs: Sequence[_Input],
    outputs: dict[str, Value],
    widths: dict[str, list[Any]],
) -> Any:
    """Return the ModelProto; the widths are the sizes of a row of each output."""
    helper = onnx.helper

    def described(name, dtype, width):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, ["rows", *width])

    for name, value in outputs.items():
        graph.nodes.append(helper.make_node("Identity", [value.name], [name]))
    proto = helper.make_graph(
        graph.nodes,
        "tabdl",
        [described(own.name, _DTYPES[own.form], [1]) for own in inputs],
        [described(name, value.dtype, widths[name]) for name, value in outputs.items()],
        initializer=graph.constants,
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(proto, opset_imports=opsets, producer_name="tabdl", ir_version=10)


# --- the check


def _compare(estimator: Any, path: Any, X: Any, feed: dict[str, np.ndarray]) -> None:
    """Raise RuntimeError where onnxruntime is installed and gives other outputs."""
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError:
        return
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    name = "predict" if getattr(estimator, "classes_", None) is None else "predict_proba"
    [found] = session.run([name], feed)
    expected = getattr(estimator, name)(X)
    scale = 1 + np.abs(expected).max()
    # Where the estimator computes in bfloat16, the graph has more digits than it.
    if not np.allclose(found, expected, rtol=0, atol=0.05 * scale):
        raise RuntimeError(
            f"{type(estimator).__name__}: onnxruntime gives other outputs than the estimator, by "
            f"up to {np.abs(found - expected).max():g}; please report it."
        )
