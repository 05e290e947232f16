"""The folds of a competition: the same ones for every model, and a file that says them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.files import write_text
from tabdl.kaggle.reading import Tables
from tabdl.kaggle.tables import read_table

Fold = tuple[np.ndarray, np.ndarray]
# Of the rows, that the first fold of a time trains on; the next one where ties leave fewer folds.
_FIRST_SHARES = (0.5, 0.25)


def make_folds(
    tables: Tables, n_folds: int, n_repeats: int, seed: int, folds_file: Path | None = None
) -> list[Fold]:
    """Return the rows to train on and the rows to test of each fold, a list of pairs of int arrays.

    Classes keep their shares, groups stay whole, and folds of a time test what comes after their
    training rows. Extra rows train in every fold.

    Parameters
    ----------
    tables : Tables
    n_folds : int
        Unused with ``folds_file``.
    n_repeats : int
        How often all folds are made, each time with other rows together.
    seed : int
    folds_file : Path, optional
        A table with a column "fold": one row for each row of the training file, or for each id. A
        row without a fold, or with a negative one, is never tested.

    Raises
    ------
    CompetitionError
        When the folds cannot be made.
    """
    _check_options(tables, n_folds, n_repeats, folds_file)
    if folds_file is not None:
        parts = _parts_of_file(folds_file, tables)
        folds = [_others(parts, part) for part in np.unique(parts[parts >= 0])]
    elif tables.time is not None:
        folds = _forward_folds(tables.time, n_folds)
    else:
        _check_number(tables, n_folds)
        folds = []
        for repeat in range(n_repeats):
            folds += _shuffled_folds(tables, n_folds, (seed + repeat) % 2**32)
    extra = np.arange(tables.n_rows, len(tables.X))
    return [(np.append(train, extra), test) for train, test in folds]


def _check_options(tables, n_folds, n_repeats, folds_file):
    """Refuse what cannot be, and options that the folds would not heed."""
    for name, value, least in (("--folds", n_folds, 2), ("--repeats", n_repeats, 1)):
        if value < least:
            raise CompetitionError(f"{name} must be {least} or more, got {value}.")
    if tables.groups is not None and tables.time is not None and folds_file is None:
        raise CompetitionError("--groups and --time: give one of them, or --folds-file.")
    if n_repeats > 1 and (folds_file is not None or tables.time is not None):
        option = "--folds-file" if folds_file is not None else "--time"
        raise CompetitionError(f"--repeats: the folds of {option} would be the same each time.")


def _check_number(tables, n_folds):
    n_rows = tables.n_rows
    if n_rows < n_folds:
        raise CompetitionError(
            f"--folds {n_folds}: there are only {n_rows} training rows with a target."
        )
    if tables.groups is not None and len(np.unique(tables.groups)) < n_folds:
        raise CompetitionError(
            f"--folds {n_folds}: there are only {len(np.unique(tables.groups))} groups."
        )
    if tables.classes is not None:
        most = np.bincount(tables.y[:n_rows]).max()
        if most < n_folds:
            raise CompetitionError(
                f"--folds {n_folds}: no class of {tables.targets[0]!r} has so many rows; the most "
                f"frequent has {most}. Give fewer folds, or a metric of numbers, such as rmse."
            )


def _shuffled_folds(tables, n_folds, seed):
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    is_grouped, has_classes = tables.groups is not None, tables.classes is not None
    kinds = {
        (False, False): KFold,
        (False, True): StratifiedKFold,
        (True, False): GroupKFold,
        (True, True): StratifiedGroupKFold,
    }
    splitter: Any = kinds[is_grouped, has_classes](n_folds, shuffle=True, random_state=seed)
    y = tables.y[: tables.n_rows]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)  # of classes with few rows
        return list(splitter.split(np.empty((len(y), 1)), y, tables.groups))


def _forward_folds(time, n_folds):
    """Return folds that test one stretch of the later half each, after all before it; ties stay
    together.

    A model of fewer rows is far from the one that predicts the rows to come.
    """
    n_moments = len(np.unique(time))
    if n_moments <= n_folds:
        raise CompetitionError(
            f"--folds {n_folds}: --time has {n_moments} different moments only; give fewer folds."
        )
    found = [_later_folds(time, share, n_folds) for share in _FIRST_SHARES]
    return max(found, key=len) or _later_folds(time, 0, n_folds)


def _later_folds(time, first_share, n_folds):
    """Return folds of a time, up to so many, of which the first trains on a share of the rows."""
    last_of_first = np.quantile(time, first_share, method="lower")
    later = time[time > last_of_first]
    if len(later) == 0:
        return []
    inner = np.quantile(later, np.arange(1, n_folds) / n_folds, method="lower")
    edges = np.unique([last_of_first, *inner])
    part = np.searchsorted(edges, time, side="left")
    folds = [
        (np.flatnonzero(part < number), np.flatnonzero(part == number))
        for number in range(1, len(edges) + 1)
    ]
    return [fold for fold in folds if len(fold[1])]


def _parts_of_file(path, tables):
    """Return the number of the fold of each training row, -1 for none, int (N,)."""
    file = read_table(path)
    if "fold" not in file.table:
        raise CompetitionError(f"--folds-file: {path} has no column 'fold'.")
    numbers: Any = pd.to_numeric(file.table["fold"], errors="coerce")
    if not (numbers.dropna() % 1 == 0).all():
        raise CompetitionError(f"--folds-file: {path} must hold whole numbers as folds.")
    fold = numbers.fillna(-1).to_numpy(int)
    if tables.id_name is not None and tables.id_name in file.table:
        names = file.names(tables.id_name)
        if not names.is_unique:
            raise CompetitionError(f"--folds-file: {path} has an id more than once.")
        found = pd.Series(fold, index=names.to_numpy()).reindex(tables.ids.to_numpy())
        if found.isna().any():
            raise CompetitionError(
                f"--folds-file: {path} lacks {int(found.isna().sum())} of the training ids."
            )
        parts = found.to_numpy(int)
    elif len(fold) > tables.file_rows.max():
        parts = fold[tables.file_rows]
    else:
        raise CompetitionError(
            f"--folds-file: {path} has {len(fold)} rows, and no column of ids; the training file "
            f"has more."
        )
    if len(np.unique(parts[parts >= 0])) < 2:
        raise CompetitionError(f"--folds-file: {path} must have two folds or more.")
    return parts


def _others(parts, part):
    return np.flatnonzero(parts != part), np.flatnonzero(parts == part)


def write_folds(path: Path, tables: Tables, folds: list[Fold]) -> None:
    """Write which folds test each training row; a column for each repeat."""
    columns: list[np.ndarray] = []
    for number, (_, test) in enumerate(folds):
        if not columns or (columns[-1][test] >= 0).any():
            columns.append(np.full(tables.n_rows, -1))
        columns[-1][test] = number
    names = ["fold", *(f"fold_of_repeat_{i}" for i in range(2, len(columns) + 1))]
    table = pd.DataFrame(dict(zip(names, columns, strict=False)))
    write_text(path, pd.concat([tables.ids, table], axis=1).to_csv(index=False))
