"""The encoder and the decoder of a fitted estimator as nodes of an ONNX graph.

They are made node by node, since the exporter of torch divides integers as float32. Numbers stay
float64 until they are scaled, as in ``data/encoding.py``: a float32 would lose the digits of a
large one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tabdl.data.categories import CategoryEncoder
from tabdl.data.encoding import DatetimeEncoder, FeatureEncoder
from tabdl.data.statistics import CategoryStatistics

# As in data/encoding.py, where the reasons stand.
_TAIL = 1e-7
_LARGEST = 1e12
_DAY = 86_400_000_000  # microseconds
_CYCLE = 146_097  # days of 400 years
# Added to moments, which so are positive: integers of ONNX are divided towards zero.
_SHIFT_CYCLES = 100
_MISSING_MOMENT = -(2**63)
MISSING_TEXT = "<missing>"
# Wichura: "Algorithm AS 241" (Applied Statistics 37, 1988), PPND16: numerators and denominators by
# rising power, for the middle, the tails and the far tails.
_COEFFICIENTS = """
3.3871328727963666080 1.3314166789178437745e2 1.9715909503065514427e3
1.3731693765509461125e4 4.5921953931549871457e4 6.7265770927008700853e4
3.3430575583588128105e4 2.5090809287301226727e3
1.0 4.2313330701600911252e1 6.8718700749205790830e2
5.3941960214247511077e3 2.1213794301586595867e4 3.9307895800092710610e4
2.8729085735721942674e4 5.2264952788528545610e3
1.42343711074968357734 4.63033784615654529590 5.76949722146069140550
3.64784832476320460504 1.27045825245236838258 2.41780725177450611770e-1
2.27238449892691845833e-2 7.74545014278341407640e-4
1.0 2.05319162663775882187 1.67638483018380384940
6.89767334985100004550e-1 1.48103976427480074590e-1 1.51986665636164571966e-2
5.47593808499534494600e-4 1.05075007164441684324e-9
6.65790464350110377720 5.46378491116411436990 1.78482653991729133580
2.96560571828504891230e-1 2.65321895265761230930e-2 1.24266094738807843860e-3
2.71155556874348757815e-5 2.01033439929228813265e-7
1.0 5.99832206555887937690e-1 1.36929880922735805310e-1
1.48753612908506148525e-2 7.86869131145613259100e-4 1.84631831751005468180e-5
1.42151175831644588870e-7 2.04426310338993978564e-15
"""
_NEAR, _FAR, _FARTHEST = np.array(_COEFFICIENTS.split(), dtype=np.float64).reshape(3, 2, 8)


class Graph:
    """Nodes and constants, in the order in which they are computed.

    Parameters
    ----------
    onnx : module
        The package.
    prefix : str
        The beginning of all names that the graph makes.
    """

    def __init__(self, onnx: Any, prefix: str) -> None:
        self.onnx = onnx
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: Any, dtype: Any, domain: str = "", **attributes: Any):
        """Add a node and return its output, a Value of ``dtype``."""
        name = f"{self.prefix}{operator}_{len(self.nodes)}"
        names = [value.name for value in inputs]
        self.nodes.append(
            self.onnx.helper.make_node(operator, names, [name], domain=domain, **attributes)
        )
        return Value(self, name, np.dtype(dtype))

    def constant(self, array: Any, dtype: Any) -> "Value":
        """Return numbers as a Value."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        numbers = np.asarray(array, dtype=dtype)
        self.constants.append(self.onnx.numpy_helper.from_array(numbers, name))
        return Value(self, name, numbers.dtype)

    def concatenated(self, values: Sequence["Value"]) -> "Value":
        """Return values (N, ·) beside each other."""
        if len(values) == 1:
            return values[0]
        return self.add("Concat", *values, dtype=values[0].dtype, axis=1)


@dataclass(frozen=True, eq=False)
class Value:
    """An array in a graph, with the operators of numpy; numbers beside it get its dtype."""

    graph: Graph
    name: str
    dtype: np.dtype

    def _with(self, operator: str, other: Any, dtype: Any = None) -> "Value":
        if not isinstance(other, Value):
            other = self.graph.constant(other, self.dtype)
        return self.graph.add(operator, self, other, dtype=dtype or self.dtype)

    def __add__(self, other: Any) -> "Value":
        return self._with("Add", other)

    def __sub__(self, other: Any) -> "Value":
        return self._with("Sub", other)

    def __mul__(self, other: Any) -> "Value":
        return self._with("Mul", other)

    def __truediv__(self, other: Any) -> "Value":
        return self._with("Div", other)

    def __floordiv__(self, other: Any) -> "Value":
        return self._with("Div", other)  # of integers that are not negative

    def __ge__(self, other: Any) -> "Value":
        return self._with("GreaterOrEqual", other, bool)

    def __gt__(self, other: Any) -> "Value":
        return self._with("Greater", other, bool)

    def equals(self, other: Any) -> "Value":
        """Return where two values are equal."""
        return self._with("Equal", other, bool)

    def at_most(self, other: Any) -> "Value":
        """Return the smaller of two."""
        return self._with("Min", other)

    def at_least(self, other: Any) -> "Value":
        """Return the larger of two."""
        return self._with("Max", other)

    def of(self, operator: str, dtype: Any = None, **attributes: Any) -> "Value":
        """Return what an operator of one input gives."""
        return self.graph.add(operator, self, dtype=dtype or self.dtype, **attributes)

    def to(self, dtype: Any) -> "Value":
        """Return the values in another dtype."""
        if np.dtype(dtype) == self.dtype:
            return self
        kind = self.graph.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.of("Cast", dtype, to=kind)

    def where(self, yes: Any, no: "Value") -> "Value":
        """Return ``yes`` where this condition holds, else ``no``."""
        if not isinstance(yes, Value):
            yes = self.graph.constant(yes, no.dtype)
        return self.graph.add("Where", self, yes, no, dtype=no.dtype)

    def at(self, place: "Value") -> "Value":
        """Return the items of this vector at the places."""
        return self.graph.add("Gather", self, place, dtype=self.dtype, axis=0)

    def columns(self, start: int, stop: int) -> "Value":
        """Return some columns."""
        bounds = [self.graph.constant([number], np.int64) for number in (start, stop, 1)]
        return self.graph.add("Slice", self, *bounds, dtype=self.dtype)

    def mean(self, axis: int) -> "Value":
        """Return the mean along an axis, which is gone then."""
        axes = self.graph.constant([axis], np.int64)
        return self.graph.add("ReduceMean", self, axes, dtype=self.dtype, keepdims=0)


# --- numbers


def _normal_quantile(p: Value) -> Value:
    """Return the quantile function of the standard normal for float64 in (0, 1)."""
    q = p - 0.5
    middle = q * _ratio(_NEAR, q * q * -1.0 + 0.180625)
    r = (p.at_most(p * -1.0 + 1.0).of("Log") * -1.0).of("Sqrt")
    tail = (r > 5.0).where(_ratio(_FARTHEST, r - 5.0), _ratio(_FAR, r - 1.6))
    return (q.of("Abs") > 0.425).where(tail * q.of("Sign"), middle)


def _ratio(polynomials: np.ndarray, x: Value) -> Value:
    numerator, denominator = (_polynomial(coefficients, x) for coefficients in polynomials)
    return numerator / denominator


def _polynomial(coefficients: np.ndarray, x: Value) -> Value:
    value = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * x + coefficient
    return value


class _Lines:
    """Numbers for each of F columns, in one vector; with the places of values among them.

    Parameters
    ----------
    graph : Graph
    lines : list of float64 ndarray, length F
    """

    def __init__(self, graph: Graph, lines: Sequence[np.ndarray]) -> None:
        self.width = max(len(line) for line in lines)
        padded = [np.append(line, np.full(self.width - len(line), np.inf)) for line in lines]
        self.numbers = graph.constant(np.concatenate(padded), np.float64)
        self.starts = graph.constant(np.arange(len(lines)) * self.width, np.int64)
        self._lasts = [len(line) - 1 for line in lines]

    @cached_property
    def last(self) -> Value:
        """The last place of each column."""
        return self.starts.graph.constant(self._lasts, np.int64)

    def at(self, place: Value) -> Value:
        """Return the numbers at places (N, F)."""
        return self.numbers.at(place + self.starts)

    def place(self, values: Value) -> Value:
        """Return where the last number stands that is not above the value, or 0, (N, F).

        The numbers ascend. Steps of halved size go up while the number there is not above.
        """
        place = values.of("IsNaN", bool).to(np.int64) * 0
        for power in reversed(range((self.width - 1).bit_length())):
            tried = (place + 2**power).at_most(self.last)
            place = (values >= self.at(tried)).where(tried, place)
        return place


def _interpolated(graph: Graph, values: Value, points: Any, levels: Any) -> Value:
    """Return ``numpy.interp`` for each column, (N, F)."""
    lines, levels = _Lines(graph, points), _Lines(graph, levels)
    place = lines.place(values)
    after = (place + 1).at_most(lines.last)
    low, level = lines.at(place), levels.at(place)
    slope = (levels.at(after) - level) / (lines.at(after) - low)
    # Below the first point and from the last one on the level stays.
    is_inside = graph.add("And", after > place, values > low, dtype=bool)
    return is_inside.where(slope * (values - low) + level, level)


_CENTER_AND_WIDTH = {"standard": ("mean", "std"), "robust": ("median", "range")}


def _scaled(graph: Graph, values: Value, scales: Sequence[Any], transform: str) -> Value:
    """Return numbers (N, F) scaled; the scale of a column is None where it is constant."""
    if transform == "none":
        return values
    if transform in ("quantile", "quantile_noise"):
        nothing = np.zeros(1)
        points = [nothing if scale is None else scale.quantiles for scale in scales]
        levels = [nothing if scale is None else scale.levels for scale in scales]
        level = _interpolated(graph, values, points, levels)
        return _normal_quantile(level.at_least(_TAIL).at_most(1 - _TAIL))
    center, width = _CENTER_AND_WIDTH[transform]
    centers = [getattr(scale, center, 0.0) for scale in scales]
    z = (values - centers) / [getattr(scale, width, 1.0) for scale in scales]
    if transform == "standard":
        return z
    z = z.at_least(-_LARGEST).at_most(_LARGEST)
    return z / ((z / 3.0) * (z / 3.0) + 1.0).of("Sqrt")


def _numeric_features(
    graph: Graph, values: Value, encoders: Sequence[Any], transform: str
) -> Value:
    """Return the features, (N, Fn) float64, of numbers (N, F), NaN where missing."""
    scales = [None if encoder.constant else encoder.scale for encoder in encoders]
    missing = values.of("IsNaN", bool)
    units = [encoder.unit for encoder in encoders]
    in_units = values if set(units) == {1.0} else values / units
    scaled = _scaled(graph, in_units, scales, transform)
    middles = graph.constant([getattr(scale, "middle", 0.0) for scale in scales], np.float64)
    scaled = missing.where(middles, scaled).at_least(-_LARGEST).at_most(_LARGEST)
    if None in scales:
        constant = graph.constant([scale is None for scale in scales], bool)
        scaled = constant.where(0.0, scaled)
    order: list[int] = []  # a scaled number, and its indicator where it has one
    for i, encoder in enumerate(encoders):
        order += [i, len(encoders) + i][: len(encoder.names)]
    if order == list(range(len(encoders))):
        return scaled
    both = graph.concatenated([scaled, missing.to(np.float64)])
    places = graph.constant(order, np.int64)
    return graph.add("Gather", both, places, dtype=np.float64, axis=1)


# --- dates


def _date_parts(moments: Value, parts: Sequence[str]) -> Value:
    """Return the parts of moments (N, 1), (N, parts) float64; NaN where a moment is missing."""
    graph = moments.graph
    missing = moments.equals(_MISSING_MOMENT)
    moments = missing.where(0, moments)
    shifted = moments + _SHIFT_CYCLES * _CYCLE * _DAY
    day = shifted // _DAY
    minutes = (shifted - day * _DAY) // 60_000_000
    hour = minutes // 60
    found = {
        "days": moments.to(np.float64) / _DAY,
        **_calendar(day),
        # 1970 began on the fourth day of a week; 400 years are whole weeks.
        "day_of_week": day + 3 - (day + 3) // 7 * 7,
        "hour": hour,
        "minute": minutes - hour * 60,
    }
    numbers = graph.concatenated([found[part].to(np.float64) for part in parts])
    return missing.where(np.nan, numbers)


def _calendar(day: Value) -> dict[str, Value]:
    """Return year, month and day of the month in the Gregorian calendar.

    Years are counted from March, so that the day that may be missing is the last of a year.

    Parameters
    ----------
    day : Value
        Days since 1970 and ``_SHIFT_CYCLES`` times 400 years.
    """
    since_march = day + 719_468  # days from 0000-03-01 to 1970-01-01
    cycle = since_march // _CYCLE
    rest = since_march - cycle * _CYCLE
    # Without the days that leap years add, years have 365.
    plain = rest - rest // 1460 + rest // 36_524 - rest // 146_096
    year = plain // 365
    in_year = rest - year * 365 - year // 4 + year // 100
    # Five months from March on have 153 days.
    month = (in_year * 5 + 2) // 153
    is_next = (month >= 10).to(np.int64)
    return {
        "year": year + (cycle - _SHIFT_CYCLES) * 400 + is_next,
        "month": month + 3 - is_next * 12,
        "day": in_year - (month * 153 + 2) // 5 + 1,
    }


# --- categories


def category_form(encoders: Sequence[Any]) -> str | None:
    """Return "text" or "number", the form of a column's categories; None where it is another."""
    values = [value for encoder in encoders for value in encoder.codes]
    if all(isinstance(value, str) for value in values):
        return "text"
    return "number" if all(isinstance(value, float) for value in values) else None


def _codes(column: Value, encoder: Any) -> Value:
    """Return the codes of a column of categories before narrowing, (N, 1) int64."""
    graph = column.graph
    unknown = encoder.cardinality - 1
    missing = len(encoder.codes) if encoder.has_missing else unknown
    code_of = encoder.codes
    if category_form([encoder]) == "text" and column.dtype == object:
        return graph.add(
            "LabelEncoder",
            column,
            dtype=np.int64,
            domain="ai.onnx.ml",
            keys_strings=[*code_of, MISSING_TEXT],
            values_int64s=[*code_of.values(), missing],
            default_int64=unknown,
        )
    values = sorted(code_of)
    is_missing = column.of("IsNaN", bool)
    if not values:
        return is_missing.where(missing, is_missing.to(np.int64) * 0 + unknown)
    lines = _Lines(graph, [np.array(values)])
    place = lines.place(column)
    codes = graph.constant([code_of[value] for value in values], np.int64)
    is_known = column.equals(lines.at(place))
    nothing = graph.constant(unknown, np.int64)
    return is_missing.where(missing, is_known.where(codes.at(place), nothing))


def _looked_up(codes: Value, statistics: CategoryStatistics) -> Value:
    """Return the statistics of codes (N, 1), (N, S) float64."""
    n = len(statistics.names)
    features = codes.graph.constant(statistics.features.ravel(), np.float64)
    return features.at(codes * n + np.arange(n))


# --- the whole


def encoded(columns: dict[str, Value], encoder: FeatureEncoder, dtype: Any) -> tuple[Value, Value]:
    """Return ``x_num`` (N, Fn) and ``x_cat`` (N, Fc) int64.

    Parameters
    ----------
    columns : dict from str to Value
        The columns of the table, (N, 1).
    encoder : FeatureEncoder
    dtype : numpy dtype
        Of ``x_num``.
    """
    graph = next(iter(columns.values())).graph
    numbers, number_encoders, codes, statistics = [], [], [], []
    for j, (name, own) in enumerate(zip(encoder.column_names, encoder.encoders, strict=True)):
        column = columns[name]
        if isinstance(own, DatetimeEncoder):
            numbers.append(_date_parts(column, list(own.encoders)))
            number_encoders += own.encoders.values()
        elif isinstance(own, CategoryEncoder):
            code = _codes(column, own)
            if j in encoder.statistics:
                statistics.append(_looked_up(code, encoder.statistics[j]))
            known = own.known
            codes.append(code if known is None else graph.constant(known, np.int64).at(code))
        else:
            numbers.append(column)
            number_encoders.append(own)
    x_cat = graph.concatenated(codes) if codes else numbers[0].columns(0, 0).to(np.int64)
    parts = statistics
    if numbers:
        together = graph.concatenated(numbers)
        scaled = _numeric_features(graph, together, number_encoders, encoder.numeric_transform)
        parts = [scaled, *statistics]
    x_num = graph.concatenated(parts) if parts else codes[0].columns(0, 0)
    return x_num.to(dtype), x_cat


def decoded(outputs: Value, target: Any) -> tuple[Value, Value]:
    """Return what decides the class, and what is predicted, (N, C) float64 each.

    Parameters
    ----------
    outputs : Value of shape (N, K, C)
    target : BinaryTarget, MulticlassTarget, MultilabelTarget or RegressionTarget
    """
    outputs = outputs.to(np.float64)
    kind = type(target).__name__
    graph = outputs.graph
    if kind == "RegressionTarget":
        values = outputs.mean(1) * target.std + target.mean
        constant = graph.constant(target.is_constant, bool)
        values = constant.where(graph.constant(target.mean, np.float64), values)
        return values, values
    is_multiclass = kind == "MulticlassTarget"
    if is_multiclass:
        plain = outputs.of("Softmax", axis=2).mean(1)
    else:
        plain = _of_classes(outputs.of("Sigmoid").mean(1), kind)
    if target.temperature is None:
        return plain, plain
    temperature = target.temperature.numpy()
    if is_multiclass:
        logits = _log_mean(outputs.of("LogSoftmax", axis=2)) / temperature
        return plain, logits.of("Softmax", axis=1)
    logits = _log_mean(_log_sigmoid(outputs)) - _log_mean(_log_sigmoid(outputs * -1.0))
    return plain, _of_classes((logits / temperature).of("Sigmoid"), kind)


def _of_classes(positive: Value, kind: str) -> Value:
    """Return the probabilities of both classes; of labels, (N, C), as they are."""
    if kind == "MultilabelTarget":
        return positive
    return positive.graph.concatenated([positive * -1.0 + 1.0, positive])


def _log_sigmoid(x: Value) -> Value:
    """Return ``min(x, 0) - log(1 + exp(-abs(x)))``, which no exponential overflows."""
    return x.at_most(0.0) - ((x.of("Abs") * -1.0).of("Exp") + 1.0).of("Log")


def _log_mean(log_probabilities: Value) -> Value:
    """Return the logarithm of the mean over K, (N, C)."""
    graph = log_probabilities.graph
    axes = graph.constant([1], np.int64)
    largest = graph.add("ReduceMax", log_probabilities, axes, dtype=np.float64, keepdims=1)
    mean = (log_probabilities - largest).of("Exp").mean(1).of("Log")
    return mean + graph.add("Squeeze", largest, axes, dtype=np.float64)
