"""What names the rows to predict, and what a sample submission says about it."""

import re

import numpy as np
import pandas as pd

from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.tables import TableFile

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def find_id(
    train: TableFile,
    test: TableFile,
    targets: list[str],
    asked: str | None,
    sample: TableFile | None,
) -> str | None:
    """Return the name of the column that names the rows of the test file, None where there is none.

    It is the one that is asked for, or that of the sample submission, or the only one whose name
    ends with the word "id" and that names rows.

    Raises
    ------
    CompetitionError
        When two columns may be meant, or the column that is asked for does not name rows.
    """
    if asked is None and sample is not None:
        asked = _id_of_sample(sample, test, targets)
        if asked is None and len(sample.table) == len(test.table):
            return None
    if asked is not None:
        _check_id(asked, train, test, targets)
        return asked
    names = [
        name
        for name in test.table.columns
        if name not in targets and _is_named_id(name) and _names_rows(name, train, test)
    ]
    if len(names) > 1:
        raise CompetitionError(
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


def _check_id(name, train, test, targets):
    if name in targets:
        raise CompetitionError(f"--id: {name!r} is the target; an id names the rows.")
    if name not in test.table:
        near = "only in the training file" if name in train.table else "in no file"
        raise CompetitionError(f"--id: {test.path} has no column {name!r}; it is {near}.")
    values = test.names(name)
    if values.isna().any() or not values.is_unique:
        raise CompetitionError(
            f"--id: the column {name!r} of {test.path} has empty cells or a value more than once, "
            f"and cannot name rows."
        )


def _id_of_sample(sample, test, targets):
    """Return the one column that a sample submission shares with the test file.

    None where it shares none and has as many rows.
    """
    shared = [name for name in sample.table if name in test.table and name not in targets]
    if not shared and len(sample.table) == len(test.table):
        return None
    if len(shared) != 1:
        raise CompetitionError(
            f"--sample: {sample.path} must have one column of {test.path}, the ids; it shares "
            f"{', '.join(shared) or 'none'}. Give --id."
        )
    return shared[0]


def order_of_sample(sample: TableFile, test: TableFile, id_name: str | None) -> np.ndarray:
    """Return the rows of the test file in the order of a sample submission, int (N,).

    Raises
    ------
    CompetitionError
        When both have other ids, or another number of rows.
    """
    n_rows = len(test.table)
    if id_name is None or id_name not in sample.table:
        if len(sample.table) != n_rows:
            raise CompetitionError(
                f"--sample: {sample.path} has {len(sample.table):,} rows and no column of ids; "
                f"{test.path} has {n_rows:,} rows."
            )
        return np.arange(n_rows)
    wanted, have = sample.names(id_name), test.names(id_name)
    if not wanted.is_unique or set(wanted) != set(have):
        raise CompetitionError(
            f"--sample: the ids in {id_name!r} of {sample.path} are not those of {test.path}."
        )
    place = pd.Series(np.arange(n_rows), index=have.to_numpy())
    return place.loc[wanted.to_numpy()].to_numpy()


def ids_of(file: TableFile, name: str | None) -> pd.Series:
    """Return what names the rows of a file: text as it stands there, or numbers of rows."""
    if name is not None and name in file.table:
        return file.names(name).rename(name)
    return pd.Series(np.arange(len(file.table)).astype(str), name="row")
