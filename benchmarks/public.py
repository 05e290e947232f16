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
from benchmarks.sources import check_recorded, data_home, download, fetch_openml_table
from benchmarks.splits import rows_checksum, split_rows, split_train

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
    X, y = _libsvm(
        download(f"{LIBSVM}/epsilon_normalized.bz2", "epsilon_normalized.bz2", EPSILON),
        400_000,
        2000,
    )
    X_test, y_test = _libsvm(
        download(f"{LIBSVM}/epsilon_normalized.t.bz2", "epsilon_normalized.t.bz2", EPSILON_TEST),
        100_000,
        2000,
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
    return [_ranking((folder / name).open(), 699) for name in names]


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
            f"into {folder} (or use the arrays of the paper's authors: --archive authors)"
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
