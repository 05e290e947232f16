"""From the files of a competition to features, target and ids."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from tabdl.kaggle.columns import kind_of, one_kind, plain, refuse_infinity, row_hashes, with_dates
from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.ids import find_id, ids_of, order_of_sample
from tabdl.kaggle.metrics import Metric, check_target
from tabdl.kaggle.tables import read_table, stacked

Source = str | Path | pd.DataFrame
_INDEX = re.compile(r"Unnamed: \d+(\.\d+|_level_\d+)*")  # what pandas calls a column without name
_MANY_CATEGORIES = 10_000


@dataclass(frozen=True)
class Files:
    """What a competition is read from.

    Attributes
    ----------
    train, test : path or DataFrame
    targets : list of str
        One column, or several of numbers.
    id : str or None
        The column that names rows.
    sample : path or DataFrame, optional
        A sample submission: ids, columns, order and format.
    extra : path or DataFrame, optional
        More training rows, which no fold tests.
    groups, time : str or None
        Columns of the training file that decide the folds.
    """

    train: Source
    test: Source
    targets: list[str]
    id: str | None = None
    sample: Source | None = None
    extra: Source | None = None
    groups: str | None = None
    time: str | None = None


@dataclass(frozen=True)
class Tables:
    """The tables of a competition: N training rows, E more of them, T rows to predict.

    Attributes
    ----------
    X : DataFrame of N + E rows
        Without the columns of ids and constants; dates as numbers. The last E rows are extra.
    X_test : DataFrame of T rows
    y : ndarray of shape (N + E,) or (N + E, targets)
        Codes of classes, or values.
    classes : ndarray of shape (C,) or None
        The class labels; None for values.
    targets : list of str
    id_name : str or None
    ids, test_ids : Series of shape (N,), (T,)
        What names the rows: text as in the file, or numbers of rows.
    groups, time : ndarray of shape (N,) or None
    file_rows : int ndarray of shape (N,)
        The rows of the training file, which may have rows without a target.
    order : int ndarray of shape (T,)
        The rows to predict, in the order of the submission.
    sample : DataFrame or None
        A sample submission.
    notes : list of str
        What was said about the files.
    """

    X: pd.DataFrame
    X_test: pd.DataFrame
    y: np.ndarray
    classes: np.ndarray | None
    targets: list[str]
    id_name: str | None
    ids: pd.Series
    test_ids: pd.Series
    groups: np.ndarray | None
    time: np.ndarray | None
    file_rows: np.ndarray
    order: np.ndarray
    sample: pd.DataFrame | None
    notes: list[str] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """The number N of training rows that folds test."""
        return len(self.ids)


def read_tables(files: Files, metric: Metric) -> Tables:
    """Return the :class:`Tables` of a competition.

    Raises
    ------
    CompetitionError
        When the files cannot be used.
    """
    notes: list[str] = []
    train, test = read_table(files.train, "train"), read_table(files.test, "test")
    sample = None if files.sample is None else read_table(files.sample, "sample")
    _check_columns(train, files)
    id_name = find_id(train, test, files.targets, files.id, sample)
    in_file = np.arange(len(test.table))
    order = in_file if sample is None else order_of_sample(sample, test, id_name)
    n_in_file = len(train.table)
    if files.extra is not None:
        train = _with_extra(train, read_table(files.extra, "extra"), {*files.targets, id_name})
    in_test = [name for name in files.targets if name in test.table]
    _leave_out(in_test, f"the target, in {test.path} too", notes)
    features = _features(train, test, {*files.targets, id_name}, notes)
    rows = _rows_with_target(train, files.targets, n_in_file, notes)
    X, X_test = _read_features(train, test, features, rows, notes)
    if files.extra is not None:
        is_extra = (rows >= n_in_file).astype(float)
        X, X_test = X.assign(is_extra=is_extra), X_test.assign(is_extra=0.0)
        _tell_of_leaks(X, rows < n_in_file, notes)
    own = rows[rows < n_in_file]
    y, classes = _read_target(train, rows, files, metric)
    return Tables(
        X,
        X_test,
        y,
        classes,
        files.targets,
        id_name,
        ids_of(train, id_name).iloc[own].reset_index(drop=True),
        ids_of(test, id_name),
        _groups(train, files.groups, own),
        _times(train, files.time, own),
        own,
        order,
        None if sample is None else sample.table,
        notes,
    )


def _check_columns(train, files):
    chosen = [*files.targets, *filter(None, [files.groups, files.time])]
    if twice := [name for name in files.targets if chosen.count(name) > 1]:
        raise CompetitionError(
            f"--target {twice[0]}: the column is given more than once, as a target or for folds."
        )
    for name in filter(None, [*files.targets, files.groups, files.time]):
        if name not in train.table:
            raise CompetitionError(
                f"{train.path} has no column {name!r}; it has "
                f"{', '.join(train.table.columns[:20])}."
            )


# --- columns


def _with_extra(train, extra, others):
    """Return the training file with the rows of another one below it."""
    known = [name for name in train.table if name in extra.table and name not in others]
    if not known:
        raise CompetitionError(f"--extra: {extra.path} shares no column with {train.path}.")
    pairs = {
        name: one_kind(name, train, extra)
        if name in known
        else (train.table[name], _column_or_missing(extra.table, name))
        for name in train.table
    }
    table = pd.DataFrame({name: pd.concat(pair, ignore_index=True) for name, pair in pairs.items()})
    print(f"{len(extra.table):,} extra training rows share {len(known)} columns.", flush=True)
    return stacked(train, extra, table)


def _tell_of_leaks(X, is_own, notes):
    """Say how many extra rows stand in the training file, too."""
    hashes = row_hashes(X.drop(columns="is_extra"))
    if n_twice := int(np.isin(hashes[~is_own], hashes[is_own]).sum()):
        _note(
            f"{n_twice:,} extra rows are training rows, too: where a fold tests one, its score is "
            f"too good. Leave them out of --extra.",
            notes,
        )


def _column_or_missing(table, name):
    return table[name] if name in table else pd.Series(np.nan, index=table.index)


def _features(train, test, others, notes):
    """Return the names of the columns that both files have, and say which are left out."""
    mine, theirs = (
        [name for name in file.table if name not in others and not _INDEX.fullmatch(name)]
        for file in (train, test)
    )
    index = [
        name
        for name in dict.fromkeys([*train.table.columns, *test.table.columns])
        if _INDEX.fullmatch(name) and name not in others
    ]
    _leave_out(index, "no name in the file: row numbers", notes)
    _leave_out([name for name in mine if name not in theirs], f"only in {train.path}", notes)
    _leave_out([name for name in theirs if name not in mine], f"only in {test.path}", notes)
    both = [name for name in mine if name in theirs]
    if not both:
        raise CompetitionError(
            f"{test.path} has no column of {train.path} to predict from; they have "
            f"{', '.join(theirs[:10]) or 'none'} and {', '.join(mine[:10]) or 'none'}."
        )
    return both


def _read_features(train, test, features, rows, notes):
    """Return the features of the training rows with a target, and of the test rows."""
    pairs = {name: one_kind(name, train, test) for name in features}
    X = pd.DataFrame({name: pair[0] for name, pair in pairs.items()})
    X_test = pd.DataFrame({name: pair[1] for name, pair in pairs.items()})
    refuse_infinity(X, train.path)
    refuse_infinity(X_test, test.path)
    X = X.iloc[rows].reset_index(drop=True)
    constant = [name for name in X.columns if X[name].nunique(dropna=False) <= 1]
    _leave_out(constant, "one value in all training rows", notes)
    if len(constant) == X.shape[1]:
        raise CompetitionError("No column is left to predict from: all have one value only.")
    X, X_test = with_dates(X.drop(columns=constant), X_test.drop(columns=constant))
    for name in X.select_dtypes(exclude=["number", "bool"]).columns:
        if (n_categories := len(X[name].unique())) > _MANY_CATEGORIES:
            _note(f"{name!r} is text with {n_categories:,} different values.", notes)
    return X, X_test


def _leave_out(names, reason, notes):
    if names:
        _note(f"Left out: {', '.join(map(repr, names))} ({reason}).", notes)


def _note(text, notes):
    notes.append(text)
    print(text, flush=True)


# --- the target


def _rows_with_target(train, targets, n_in_file, notes):
    """Return the numbers of the rows whose targets are not missing."""
    is_there = train.table[targets].notna().all(axis=1).to_numpy()
    rows = np.flatnonzero(is_there)
    if not is_there[:n_in_file].any():
        named = ", ".join(map(repr, targets))
        raise CompetitionError(f"{train.path}: the target {named} is missing in all rows.")
    if is_there[:n_in_file].sum() == 1:
        raise CompetitionError(f"{train.path} has one row with a target; folds need two or more.")
    if n_missing := len(is_there) - len(rows):
        _note(f"{n_missing} training rows have no target and are left out.", notes)
    return rows


def _read_target(train, rows, files, metric):
    """Return y, as codes or values, and the classes or None."""
    columns = [_target_column(train, rows, name, metric) for name in files.targets]
    for name, values in zip(files.targets, columns, strict=True):
        check_target(values, name, metric)
    if metric.is_regression:
        y = np.stack([values.astype(np.float64) for values in columns], axis=1)
        return (y[:, 0] if y.shape[1] == 1 else y), None
    if len(columns) > 1:
        raise CompetitionError(
            f"--metric {metric.name} needs one target; several are allowed with metrics of "
            f"numbers, such as rmse."
        )
    classes, codes = np.unique(columns[0], return_inverse=True)
    if len(classes) == 2 and metric.answer == "probability" and classes[1] != 1:
        print(f"Probabilities are those of {files.targets[0]!r} = {classes[1]!s}.", flush=True)
    return codes, classes


def _target_column(train, rows, name, metric):
    values = plain(train.table[name].iloc[rows], f"{train.path}: the target {name!r}")
    if kind_of(values) == "date":
        raise CompetitionError(f"The target {name!r} holds dates; numbers or classes are allowed.")
    y = values.to_numpy()
    if y.dtype.kind == "f" and not metric.is_regression and np.all(y % 1 == 0):
        y = y.astype(np.int64)  # decimal only because values were missing
    return y


# --- what decides the folds


def _groups(train, name, rows):
    if name is None:
        return None
    values = train.table[name].iloc[rows]
    if values.isna().any():
        raise CompetitionError(f"--groups: {name!r} is missing in some training rows.")
    return np.unique(values.astype(str), return_inverse=True)[1]


def _times(train, name, rows):
    """Return the moments of the training rows as numbers."""
    if name is None:
        return None
    values = plain(train.table[name].iloc[rows], f"{train.path}: column {name!r}")
    if kind_of(values) == "text":
        values = pd.to_datetime(values, errors="coerce", format="ISO8601", utc=True)
    if bool(values.isna().any()):
        raise CompetitionError(
            f"--time: {name!r} must hold a number or a date (such as 2024-01-31) in every row."
        )
    return np.unique(values.to_numpy(), return_inverse=True)[1]
