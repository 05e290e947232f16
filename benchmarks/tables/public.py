"""The public sources of the paper's tables: one function a table, each returns three of (numbers
(N, Fn), y (N,)).

Splits: the official one where there is one, else the paper's rule (``splits.py``). Texts are read
in pieces straight into float32 arrays, so that a large table is in memory once.
"""

import bz2
import io
import itertools
import zipfile

import numpy as np
import pandas as pd

from benchmarks.errors import HarnessError
from benchmarks.tables.sources import check_recorded, data_home, download, fetch_openml_table
from benchmarks.tables.splits import rows_checksum, split_rows, split_train

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
AUTOGLUON_SHA1 = {
    "helena": (
        "61f290ee851695715662177b5726055cc7f8bccb",
        "67d01556af5f78015de1151e3a3c81f71de6bc11",
        "c55709b71ce79051e5f580e9edb73be81d41bf92",
    ),
    "jannis": (
        "6b2cb95c8858aac965908e6973d8728ce13152c5",
        "17332c6155d60aeb30ddc201f9da8dc93fa05584",
        "c27654b99794de445bc4053ccb052800886d0d0a",
    ),
    "higgs_small": (
        "65554dceee2c6647f348153412c099891c3b0516",
        "63ab6b0ac6730ea63c18d106c6eb17f5874042f8",
        "dd372975aae92ffcc3a0335299382f7ff1d889bc",
    ),
    "aloi": (
        "62f8457a455506d83db0c671fe9d271d376ecb22",
        "2e0e70dd710a441ac130a7b29a420acac26fbef4",
        "3f9311df8b1a8cb0c0d9b51ad32e274e7f5eb36b",
    ),
    "year": (
        "52a5b79a14a0fd69c94105f3212d9728dfc658ed",
        "f5469142509a75c8ba2915fda74efe1fea221058",
        "d5cf1b15c255a8a6ac0ab94f83373266944a7675",
    ),
    "covtype": (
        "7cd56fed5f667dcebe6fb3eb096bc0166636bc5d",
        "0e32c887a586963f4e7cb62d16964ec8dd57cf08",
        "35883acd6db686e148338bb7c6f0c46df0039574",
    ),
}
"""AutoGluon's mirror of the paper's splits: of train.csv, val.csv and test.csv."""


OPENML = {
    "phoneme": (1489, "binary", 5404),
    "magic": (1120, "binary", 19_020),
    "credit_g": (31, "binary", 1000),
    "spambase": (44, "binary", 4601),
    "jm1": (1053, "binary", 10_885),
    "bank_marketing": (1461, "binary", 45_211),
    "telco_churn": (42178, "binary", 7043),
    "letter": (6, "multiclass", 20_000),
    "optdigits": (28, "multiclass", 5620),
    "nursery": (26, "multiclass", 12_960),
    "splice": (46, "multiclass", 3190),
    "connect_4": (40668, "multiclass", 67_557),
    "cpu_act": (197, "regression", 8192),
    "wine_quality": (287, "regression", 6497),
    "bike_sharing": (42712, "regression", 17_379),
    "diamonds": (42225, "regression", 53_940),
}
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
    for part, sha1 in zip(("train", "val", "test"), AUTOGLUON_SHA1[name], strict=True):
        url = f"{AUTOGLUON}/{name}/{part}.csv"
        table = pd.read_csv(download(url, f"autogluon-{name}-{part}.csv", f"sha1:{sha1}"))
        found.append((table.drop(columns="target").to_numpy(np.float32), table["target"]))
    return found


def _openml(number, task):
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
    table = np.concatenate(
        [chunk.to_numpy(np.float32) for chunk in pd.read_csv(path, header=None, chunksize=100_000)]
    )
    X, y = table[:, 1:], table[:, 0].astype(np.float64)
    n_train = len(X) - 51_630
    train, val = split_train(y[:n_train], "regression")
    return [(X[train], y[train]), (X[val], y[val]), (X[n_train:], y[n_train:])]


def covtype():
    """Covertype (Blackard and Dean 1999), UCI: 581,012 rows of 54 numbers, 7 classes."""
    path = download(f"{UCI}/covtype/covtype.data.gz", "covtype.data.gz", COVTYPE)
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
