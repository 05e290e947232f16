"""The public sources of the paper's tables: one function a table, each returns three of (numbers
(N, Fn), y (N,)).

Splits: the official one where there is one, else the paper's rule (``splits.py``). Texts are read
in pieces straight into float32 arrays, so that a large table is in memory once.
"""

import bz2
import io
import itertools
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.errors import HarnessError
from benchmarks.tables.sources import check_recorded, data_home, download, fetch_openml_table
from benchmarks.tables.splits import PARTS, rows_checksum, split_rows, split_train

FACTS = json.loads(Path(__file__).with_name("tables.json").read_text())
PIECE = 10_000
"""Lines of text that are read at once."""
UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"
LIBSVM = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary"


EPSILON = "aff916d4f97f18d286558ca088d2a9f7e1fcee9376539a5aa6ef5b7ef9dfa978"
EPSILON_TEST = "cb299295ad11e200696eaa3050f5d8cf700eaa9c65e6aa859bda959f8669458b"
COVTYPE = "614360d0257557dd1792834a85a1cdebfadc3c4f30b011d56afee7ffb5b15771"
"""The sha256 of these files; the others have none that is published."""

AUTHORS = "https://www.dropbox.com/s/o53umyg6mn3zhxy/data.tar.gz?dl=1"
"""The archive of the paper's authors, 4.1 GB: the arrays of all eleven tables."""

AUTOGLUON = "https://autogluon.s3.us-west-2.amazonaws.com/datasets/tabular_example"
AUTOGLUON_SHA1 = FACTS["autogluon_sha1"]
"""AutoGluon's mirror of the paper's splits: of train.csv, val.csv and test.csv."""

OPENML = FACTS["openml"]
"""Small public tables, by the names of the studies: the number of OpenML, task and rows."""


def small_table(name):
    """Return X, y and the task of one of :data:`OPENML`.

    Raises
    ------
    HarnessError
        When it cannot be had, has another number of rows, or is not what it was at the first
        download.
    """
    number, task, n_rows = OPENML[name]
    X, y = fetch_openml_table(number)
    if len(X) != n_rows:
        raise HarnessError(
            f"OpenML dataset {number} has {len(X)} rows, {name} should have {n_rows}"
        )
    check_recorded(f"openml {number}", rows_checksum(X, y))
    return X, y, task


def autogluon(name):
    """Return the three parts of a table of the mirror, whose label is in the column ``target``."""
    if name not in AUTOGLUON_SHA1:
        raise HarnessError(
            f"--archive autogluon has {', '.join(AUTOGLUON_SHA1)}, not {name}: "
            "try --archive authors"
        )
    found = []
    for part, sha1 in zip(PARTS, AUTOGLUON_SHA1[name], strict=True):
        url = f"{AUTOGLUON}/{name}/{part}.csv"
        table = pd.read_csv(download(url, f"autogluon-{name}-{part}.csv", f"sha1:{sha1}"))
        found.append((table.drop(columns="target").to_numpy(np.float32), table["target"]))
    return found


def openml(number, task):
    """Return the three parts of a table of OpenML that the paper's rule splits: Helena and Jannis
    (ChaLearn AutoML), Higgs (Baldi et al. 2014), ALOI (Geusebroek et al. 2005)."""
    X, y = fetch_openml_table(number)
    return _by_rule(X.to_numpy(np.float32), class_codes(y), task)


def class_codes(y):
    """Return classes as codes, int64: whole numbers in their order (2 before 10), others in that of
    the file."""
    numbers = pd.to_numeric(pd.Series(np.asarray(y, dtype=object)), errors="coerce")
    if numbers.notna().all():
        return np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    return y.astype("category").cat.codes.to_numpy(np.int64)


def _by_rule(X, y, task):
    return [(X[rows], y[rows]) for rows in split_rows(y, task)]


def epsilon():
    """Epsilon (PASCAL challenge 2008), LIBSVM: 400,000 rows and 100,000 official test rows of 2,000
    numbers, 2 classes."""
    names = {"epsilon_normalized.bz2": EPSILON, "epsilon_normalized.t.bz2": EPSILON_TEST}
    paths = [download(f"{LIBSVM}/{name}", name, sha256) for name, sha256 in names.items()]
    found = []
    for path, n_rows in zip(paths, (400_000, 100_000), strict=True):
        with bz2.open(path) as lines:
            X, labels = read_svmlight(lines, n_rows, 2000, path, is_dense=True)
        found.append((X, (labels > 0).astype(np.int64)))  # -1 and 1 become 0 and 1
    (X, y), test = found
    train, val = split_train(y, "binary")
    return [(X[train], y[train]), (X[val], y[val]), test]


def read_svmlight(lines, n_rows, n_features, path, is_dense=False):
    """Return numbers (N, F), float32, and labels (N,) of lines ``label [qid:q] index:value …``.

    Indices begin with 1, and what is absent is 0. Lines are read in pieces, so that the table is in
    memory once.

    Parameters
    ----------
    lines : iterator of bytes
    n_rows, n_features : int
    path : path
        For messages.
    is_dense : bool
        Whether every index has to be there.

    Raises
    ------
    HarnessError
        When the lines are others, or not so many.
    """
    from sklearn.datasets import load_svmlight_file

    X, y, n = np.empty((n_rows, n_features), np.float32), np.empty(n_rows), 0
    how = {"n_features": n_features, "dtype": np.float32, "zero_based": False}
    while piece := list(itertools.islice(lines, PIECE)):
        try:
            found, labels = load_svmlight_file(io.BytesIO(b"".join(piece)), **how)
        except ValueError as error:
            raise HarnessError(f"{path}: after row {n}: {error}") from error
        end = n + len(labels)
        if end > n_rows or (is_dense and found.nnz != found.shape[0] * n_features):
            raise HarnessError(
                f"{path}: rows {n + 1} to {end} do not all have {n_features} numbers, or are too "
                "many"
            )
        X[n:end], y[n:end] = found.toarray(), labels
        n = end
    if n != n_rows:
        raise HarnessError(
            f"{path}: {n} rows instead of {n_rows}: delete it, so that it is downloaded again"
        )
    return X, y


def year():
    """Year Prediction MSD (Bertin-Mahieux et al. 2011), UCI: 515,345 rows of 90 numbers; the last
    51,630 are the test rows."""
    path = download(f"{UCI}/00203/YearPredictionMSD.txt.zip", "YearPredictionMSD.txt.zip")
    table = _read_numbers(path)
    X, y = table[:, 1:], table[:, 0].astype(np.float64)
    n_train = len(X) - 51_630
    train, val = split_train(y[:n_train], "regression")
    return [(X[train], y[train]), (X[val], y[val]), (X[n_train:], y[n_train:])]


def _read_numbers(path):
    chunks = pd.read_csv(path, header=None, chunksize=100_000)
    return np.concatenate([chunk.to_numpy(np.float32) for chunk in chunks])


def covtype():
    """Covertype (Blackard and Dean 1999), UCI: 581,012 rows of 54 numbers, 7 classes."""
    table = _read_numbers(download(f"{UCI}/covtype/covtype.data.gz", "covtype.data.gz", COVTYPE))
    return _by_rule(table[:, :-1], table[:, -1].astype(np.int64) - 1, "multiclass")


def yahoo():
    """Yahoo Learning to Rank (Chapelle and Chang 2011), set 1: 709,877 rows of 699 numbers,
    official parts."""
    names = ("set1.train.txt", "set1.valid.txt", "set1.test.txt")
    folder = _by_hand(
        "yahoo",
        names,
        "Yahoo's page (https://webscope.sandbox.yahoo.com, dataset C14B) gives it to nobody any "
        "more; if you have ltrc_yahoo.tgz, unpack it",
    )
    found = []
    for name, n_rows in zip(names, (473_134, 71_083, 165_660), strict=True):
        with (folder / name).open("rb") as lines:
            found.append(read_svmlight(lines, n_rows, 699, folder / name))
    return found


def microsoft():
    """Microsoft Learning to Rank (Qin and Liu 2013), MSLR-WEB10K, fold 1: 1,200,192 rows of 136
    numbers, official parts."""
    place = (
        "accept the licence at https://www.microsoft.com/en-us/research/project/mslr/ (its links "
        "to the file have moved) and get MSLR-WEB10K.zip, also at "
        "https://www.dropbox.com/s/572rj8m5f9l2nz5/MSLR-WEB10K.zip?dl=1, the mirror of the "
        "paper's authors"
    )
    folder = _by_hand("microsoft", ("MSLR-WEB10K.zip",), place)
    path, found = folder / "MSLR-WEB10K.zip", []
    with zipfile.ZipFile(path) as archive:
        for part, n_rows in (("train", 723_412), ("vali", 235_259), ("test", 241_521)):
            with archive.open(f"Fold1/{part}.txt") as lines:
                found.append(read_svmlight(lines, n_rows, 136, path))
    return found


def _by_hand(name, files, how):
    """Return the folder where the user has put the files of a table with a licence to accept."""
    folder = data_home() / "manual" / name
    absent = [file for file in files if not (folder / file).exists()]
    if absent:
        raise HarnessError(
            f"{name} needs a licence that only you can accept: {how}, and put {', '.join(absent)} "
            f"into {folder} (or use the arrays of the paper's authors: --archive authors)"
        )
    return folder


FETCHERS = {"epsilon": epsilon, "year": year, "covtype": covtype}
FETCHERS |= {"yahoo": yahoo, "microsoft": microsoft}
"""The tables of the eleven that are neither shipped nor OpenML's."""
