"""The public sources of the paper's tables: one function a table, each returns three of (numbers
(N, Fn), y (N,)).

Splits: the official one where there is one, else the paper's rule (``benchmarks/splits.py``). Texts
are read in pieces straight into float32 arrays, so that a large table is in memory once.
"""

import bz2
import zipfile

import numpy as np
import pandas as pd

from benchmarks.errors import HarnessError
from benchmarks.sources import data_home, download, fetch_openml_table
from benchmarks.splits import split_rows, split_train

UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"
LIBSVM = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary"


def _openml(number, task):
    X, y = fetch_openml_table(number)
    # Classes as codes, in the order of their names.
    y = np.unique(y.astype(str).to_numpy(str), return_inverse=True)[1].astype(np.int64)
    return _by_rule(X.to_numpy(np.float32), y, task)


def _by_rule(X, y, task):
    return [(X[rows], y[rows]) for rows in split_rows(y, task)]


def helena():
    """Helena (ChaLearn AutoML), OpenML 41169: 65,196 rows, 27 numbers, 100 classes."""
    return _openml(41169, "multiclass")


def jannis():
    """Jannis (ChaLearn AutoML), OpenML 41168: 83,733 rows, 54 numbers, 4 classes."""
    return _openml(41168, "multiclass")


def higgs_small():
    """Higgs (Baldi et al. 2014), OpenML 23512: 98,050 rows, 28 numbers, 2 classes."""
    return _openml(23512, "binary")


def aloi():
    """ALOI (Geusebroek et al. 2005), OpenML 42396: 108,000 rows, 128 numbers, 1,000 classes."""
    return _openml(42396, "multiclass")


def epsilon():
    """Epsilon (PASCAL challenge 2008), LIBSVM: 400,000 rows and 100,000 official test rows of 2,000
    numbers, 2 classes."""
    X, y = _libsvm(
        download(f"{LIBSVM}/epsilon_normalized.bz2", "epsilon_normalized.bz2"), 400_000, 2000
    )
    X_test, y_test = _libsvm(
        download(f"{LIBSVM}/epsilon_normalized.t.bz2", "epsilon_normalized.t.bz2"), 100_000, 2000
    )
    train, val = split_train(y, "binary")
    return [(X[train], y[train]), (X[val], y[val]), (X_test, y_test)]


def _libsvm(path, n_rows, n_features):
    """Read ``label index:value …``, every index present, a row at a time; labels -1 and 1 become 0
    and 1."""
    X, y = np.empty((n_rows, n_features), np.float32), np.empty(n_rows, np.int64)
    i = -1
    with bz2.open(path, "rt") as lines:
        for i, line in enumerate(lines):
            label, rest = line.split(" ", 1)
            pairs = np.array(rest.replace(":", " ").split(), np.float32).reshape(-1, 2)
            if i >= n_rows or len(pairs) != n_features:
                raise HarnessError(
                    f"{path}: row {i + 1} has {len(pairs)} numbers instead of {n_features}, "
                    f"or is one too many"
                )
            X[i], y[i] = pairs[:, 1], int(float(label) > 0)
    if i + 1 != n_rows:
        raise HarnessError(
            f"{path}: {i + 1} rows instead of {n_rows}: delete it, so that it is downloaded again"
        )
    return X, y


def year():
    """Year Prediction MSD (Bertin-Mahieux et al. 2011), UCI: 515,345 rows of 90 numbers; the last
    51,630 are the test rows."""
    path = download(f"{UCI}/00203/YearPredictionMSD.txt.zip", "YearPredictionMSD.txt.zip")
    table = np.concatenate(
        [chunk.to_numpy(np.float32) for chunk in pd.read_csv(path, header=None, chunksize=100_000)]
    )
    X, y = table[:, 1:], table[:, 0].astype(np.float64)
    n_train = len(X) - 51_630
    train, val = split_train(y[:n_train], "regression")
    return [(X[train], y[train]), (X[val], y[val]), (X[n_train:], y[n_train:])]


def covtype():
    """Covertype (Blackard and Dean 1999), UCI: 581,012 rows of 54 numbers, 7 classes."""
    path = download(f"{UCI}/covtype/covtype.data.gz", "covtype.data.gz")
    table = np.concatenate(
        [chunk.to_numpy(np.float32) for chunk in pd.read_csv(path, header=None, chunksize=100_000)]
    )
    return _by_rule(table[:, :-1], table[:, -1].astype(np.int64) - 1, "multiclass")


def yahoo():
    """Yahoo Learning to Rank (Chapelle and Chang 2011), set 1: 709,877 rows of 699 numbers,
    official parts."""
    names = ("set1.train.txt", "set1.valid.txt", "set1.test.txt")
    folder = _by_hand(
        "yahoo",
        names,
        "ask for dataset C14B at https://webscope.sandbox.yahoo.com, accept its licence, "
        "unpack ltrc_yahoo.tgz",
    )
    return [_ranking((folder / name).open(), 699) for name in names]


def microsoft():
    """Microsoft Learning to Rank (Qin and Liu 2013), MSLR-WEB10K, fold 1: 1,200,192 rows of 136
    numbers, official parts."""
    place = (
        "accept the licence at https://www.microsoft.com/en-us/research/project/mslr/ "
        "and download MSLR-WEB10K.zip"
    )
    folder = _by_hand("microsoft", ("MSLR-WEB10K.zip",), place)
    with zipfile.ZipFile(folder / "MSLR-WEB10K.zip") as archive:
        parts = ("train", "vali", "test")
        return [
            _ranking((line.decode() for line in archive.open(f"Fold1/{part}.txt")), 136)
            for part in parts
        ]


def _by_hand(name, files, how):
    """Return the folder where the user has put the files of a table with a licence to accept."""
    folder = data_home() / "manual" / name
    absent = [file for file in files if not (folder / file).exists()]
    if absent:
        raise HarnessError(
            f"{name} needs a licence that only you can accept: {how}, and put {', '.join(absent)} "
            f"into {folder} (or give a folder of the authors' arrays by --archive)"
        )
    return folder


def _ranking(lines, n_features):
    """Read ``relevance qid:q index:value …``, indices from 1, absent ones 0; in pieces, so that
    Python's numbers stay few."""
    pieces, relevance, piece = [], [], []

    def close():
        pieces.append(np.concatenate(piece).reshape(-1, n_features))
        piece.clear()

    for line in lines:
        label, _, *pairs = line.split("#")[0].split()
        row = np.zeros(n_features, np.float32)
        values = np.array([pair.split(":") for pair in pairs], np.float64)
        row[values[:, 0].astype(int) - 1] = values[:, 1]
        piece.append(row)
        relevance.append(float(label))
        if len(piece) == 10_000:
            close()
    if piece:
        close()
    return np.concatenate(pieces), np.array(relevance)
