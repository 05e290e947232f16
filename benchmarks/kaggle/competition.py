"""The tables of a competition: features, target and ids, from files as people have them."""

import argparse
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.errors import HarnessError
from benchmarks.kaggle.columns import kind_of, one_kind, plain, refuse_infinity, with_dates
from benchmarks.kaggle.metrics import METRICS, check_target
from benchmarks.kaggle.tables import TableFile, read_table

_INDEX = re.compile(r"Unnamed: \d+(\.\d+|_level_\d+)*")  # what pandas calls a column without name
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


@dataclass(frozen=True)
class Competition:
    """The tables of a competition.

    Attributes
    ----------
    X, X_test : DataFrame
        Without the columns of ids and constants; dates as numbers.
    y : ndarray of shape (N,)
    id_name : str or None
    ids, test_ids : Series
        What names the rows: text as in the file, or numbers of rows.
    """

    X: pd.DataFrame
    X_test: pd.DataFrame
    y: np.ndarray
    id_name: str | None
    ids: pd.Series
    test_ids: pd.Series


def read(options: argparse.Namespace) -> Competition:
    """Return the :class:`Competition` of the command line's files.

    Raises
    ------
    HarnessError
        When the files cannot be used.
    """
    train, test = read_table(options.train), read_table(options.test)
    if options.target not in train.table:
        raise HarnessError(
            f"{train.path} has no column {options.target!r}; it has "
            f"{', '.join(train.table.columns[:20])}."
        )
    id_name = find_id(train, test, options)
    features = _features(train, test, {options.target, id_name})
    pairs = {name: one_kind(name, train, test) for name in features}
    X = pd.DataFrame({name: pair[0] for name, pair in pairs.items()})
    X_test = pd.DataFrame({name: pair[1] for name, pair in pairs.items()})
    refuse_infinity(X, train.path)
    refuse_infinity(X_test, test.path)
    rows = _rows_with_target(train, options.target)
    y = _target(train, rows, options)
    X = X.iloc[rows].reset_index(drop=True)
    X, X_test = with_dates(*_without_constants(X, X_test))
    ids = _ids(train, id_name).iloc[rows].reset_index(drop=True)
    return Competition(X, X_test, y, id_name, ids, _ids(test, id_name))


# --- ids


def find_id(train: TableFile, test: TableFile, options: argparse.Namespace) -> str | None:
    """Return the name of the column that names the rows of the test file, None where there is none.

    The option ``--id`` says it, or the sample submission, or a name whose last word is "id".

    Raises
    ------
    HarnessError
        When two columns may be meant, or the column that is asked for does not name rows.
    """
    asked = options.id or (options.sample and _id_of_sample(test, options))
    if asked:
        return _checked_id(asked, train, test, options)
    names = [
        name
        for name in test.table.columns
        if name != options.target and _is_named_id(name) and _names_rows(name, train, test)
    ]
    if len(names) > 1:
        raise HarnessError(
            f"The rows may be named by {' or by '.join(map(repr, names))}: say which, such as "
            f"--id {names[0]}."
        )
    if not names:
        print(
            "No column is named as an id: the submission numbers its rows from 0 in a column "
            "'row'. Give --id COLUMN if a column names them.",
            flush=True,
        )
    return names[0] if names else None


def _is_named_id(name):
    return [word.lower() for word in _WORD.findall(name)][-1:] == ["id"]


def _names_rows(name, train, test):
    files = [file for file in (train, test) if name in file.table]
    columns = [file.names(name) for file in files]
    return all(values.notna().all() and values.is_unique for values in columns)


def _checked_id(name, train, test, options):
    if name == options.target:
        raise HarnessError(f"--id: {name!r} is the target; an id names the rows.")
    if name not in test.table:
        near = "only in the training file" if name in train.table else "in no file"
        raise HarnessError(f"--id: {test.path} has no column {name!r}; it is {near}.")
    values = test.names(name)
    if values.isna().any() or not values.is_unique:
        raise HarnessError(
            f"--id: the column {name!r} of {test.path} has empty cells or a value more than once, "
            f"and cannot name rows."
        )
    return name


def _id_of_sample(test, options):
    sample = read_table(options.sample)
    shared = [n for n in sample.table.columns if n in test.table and n != options.target]
    if len(shared) != 1:
        raise HarnessError(
            f"--sample: {sample.path} must have one column of {test.path}, the ids; it shares "
            f"{', '.join(shared) or 'none'}. Give --id."
        )
    if set(sample.names(shared[0])) != set(test.names(shared[0])):
        raise HarnessError(
            f"--sample: the ids in {shared[0]!r} of {sample.path} are not those of {test.path}."
        )
    return shared[0]


def _ids(file, name):
    if name in file.table:
        return file.names(name).rename(name)
    return pd.Series(np.arange(len(file.table)).astype(str), name="row")


# --- columns


def _features(train, test, others):
    """Return the names of the columns that both files have, and say which are left out."""
    names = {
        file.path: [
            name for name in file.table.columns if name not in others and not _INDEX.fullmatch(name)
        ]
        for file in (train, test)
    }
    index = [
        name
        for name in dict.fromkeys([*train.table.columns, *test.table.columns])
        if _INDEX.fullmatch(name) and name not in others
    ]
    _say_left_out(index, "no name in the file: row numbers")
    mine, theirs = names[train.path], names[test.path]
    _say_left_out([name for name in mine if name not in theirs], f"only in {train.path}")
    _say_left_out([name for name in theirs if name not in mine], f"only in {test.path}")
    both = [name for name in mine if name in theirs]
    if not both:
        raise HarnessError(
            f"{test.path} has no column of {train.path} to predict from; they have "
            f"{', '.join(theirs[:10]) or 'none'} and {', '.join(mine[:10]) or 'none'}."
        )
    return both


def _say_left_out(names, reason):
    if names:
        print(f"Left out: {', '.join(map(repr, names))} ({reason}).", flush=True)


def _without_constants(X, X_test):
    constant = [name for name in X.columns if X[name].nunique(dropna=False) <= 1]
    _say_left_out(constant, "one value in all training rows")
    if len(constant) == X.shape[1]:
        raise HarnessError("No column is left to predict from: all have one value only.")
    return X.drop(columns=constant), X_test.drop(columns=constant)


# --- the target


def _rows_with_target(train, name):
    """Return the numbers of the rows whose target is not missing."""
    rows = np.flatnonzero(train.table[name].notna().to_numpy())
    n_missing = len(train.table) - len(rows)
    if len(rows) == 0:
        raise HarnessError(f"{train.path}: the target {name!r} is missing in all rows.")
    if n_missing:
        print(f"{n_missing} training rows have no target and are left out.", flush=True)
    return rows


def _target(train, rows, options):
    name = options.target
    values = plain(train.table[name].iloc[rows], f"{train.path}: the target {name!r}")
    if kind_of(values) == "date":
        raise HarnessError(f"The target {name!r} holds dates; numbers or classes are allowed.")
    y = values.to_numpy()
    if y.dtype.kind == "f" and not METRICS[options.metric].is_regression and np.all(y % 1 == 0):
        y = y.astype(np.int64)  # decimal only because values were missing
    check_target(y, name, options.metric, options.folds)
    return y
