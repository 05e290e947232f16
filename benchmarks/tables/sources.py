"""Where tables come from: files of the user, the authors' archive, downloads; checked, cached,
never half-written."""

import json
import os
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import requests
from filelock import FileLock

from benchmarks.errors import HarnessError, told, unknown
from benchmarks.files import check_dict, new_folder, read_json, write_json
from benchmarks.tables.splits import PARTS, Dataset, parts_of, split_rows, split_train

TASK_TYPES = {"regression": "regression", "binclass": "binary", "multiclass": "multiclass"}
TIMEOUT_S = 60
pooch.get_logger().setLevel("WARNING")


def data_home():
    """Return the folder of downloads: ``TABDL_DATA``, or the user's cache folder."""
    return Path(os.environ.get("TABDL_DATA") or pooch.os_cache("tabdl"))


def _made_home():
    home = data_home()
    home.mkdir(parents=True, exist_ok=True)
    return home


def download(url, name, checksum=None, timeout=TIMEOUT_S):
    """Return the path of a downloaded file in :func:`data_home`; a file that is there and whole is
    not fetched again.

    Parameters
    ----------
    url, name : str
        Where it is, and what it is called here.
    checksum : str, optional
        The published one: sha256, or "sha1:…". Without one, that of the first download is recorded
        and holds from then on.
    timeout : float
        Seconds without a byte after which the server counts as gone.

    Raises
    ------
    HarnessError
        When the server cannot be reached, sends less or something else than promised, or the file
        here has changed.
    """
    home = _made_home()
    with FileLock(home / f".{name}.lock"):
        known = checksum or _recorded(home).get(name)
        how = {"progressbar": sys.stderr.isatty(), "hooks": {"response": _close_refused}}
        downloader = pooch.HTTPDownloader(timeout=timeout, **how)
        files = {"registry": {name: known}, "urls": {name: url}}
        fetcher = pooch.create(home, base_url="", retry_if_failed=1, **files)
        kinds = requests.RequestException, ValueError, OSError
        advice = ". Nothing of it was kept; try again, or put the file at "
        advice += f"{home / name} yourself."
        with told(f"{name} could not be downloaded from {url}", *kinds, advice=advice):
            path = Path(fetcher.fetch(name, downloader=downloader))
        if known is None:
            _record(home, name, pooch.file_hash(str(path), alg="sha256"))
    return path


def check_recorded(name, sha256):
    """Record a checksum in :func:`data_home`, or raise HarnessError where another is recorded."""
    home = _made_home()
    known = _recorded(home).get(name)
    if known is None:
        _record(home, name, sha256)
    elif known != sha256:
        raise HarnessError(
            f"{name} is not what it was when it was first downloaded; if that is right, remove its "
            f"line from {home / 'checksums.json'}"
        )


def _close_refused(response, **kwargs):
    """Close the connection of an answer that nobody will read."""
    if not response.ok:
        response.close()


def _recorded(home):
    return read_json(home / "checksums.json", check_dict) or {}


def _record(home, name, sha256):
    with FileLock(home / ".checksums.lock"):
        recorded = _recorded(home) | {name: sha256}
        write_json(home / "checksums.json", dict(sorted(recorded.items())))


def read_archive(folder, name, numeric_transform="quantile"):
    """Return a dataset in the layout of the paper's authors.

    Parameters
    ----------
    folder : path
        Holds ``info.json`` and ``N_train.npy`` (numbers, (N, Fn)), ``C_train.npy`` (categories, (N,
        Fc)), ``y_train.npy``, the same for val and test; N or C may be absent. Or a folder that has
        such a folder called ``name``.
    """
    folder = Path(folder)
    folder = folder / name if (folder / name / "info.json").exists() else folder
    if not (folder / "info.json").exists():
        raise HarnessError(
            f"{folder} is no archive of {name}: it has no info.json, nor has {folder / name}"
        )
    kinds = ValueError, KeyError, OSError, EOFError
    with told(f"{folder} cannot be read as the authors' archive", *kinds):
        task = TASK_TYPES[json.loads((folder / "info.json").read_text())["task_type"]]
        train_val_test = [_archived_part(folder, part) for part in PARTS]
    return Dataset(name, task, *train_val_test, numeric_transform=numeric_transform)


def unpack(path, folder):
    """Return a folder with what a tar file holds, unpacked once."""
    if folder.exists():
        return folder
    with (
        told(f"{path} cannot be unpacked", tarfile.TarError, OSError, EOFError),
        new_folder(folder) as new,
        tarfile.open(path) as archive,
    ):
        archive.extractall(new, filter="data")
    return folder


def _archived_part(folder, part):
    paths = {kind: folder / f"{kind}_{part}.npy" for kind in "NCy"}
    frames = []
    if paths["N"].exists():
        # Numbers stay on the disk until they are used: a large table is then held by nobody but the
        # model that copies it.
        numbers = np.load(paths["N"], mmap_mode="r")
        columns = [f"n{i}" for i in range(numbers.shape[1])]
        frames.append(pd.DataFrame(numbers, columns=columns, copy=False))
    if paths["C"].exists():
        frames.append(pd.DataFrame(np.load(paths["C"]).astype(object)).add_prefix("c"))
    if not frames or not paths["y"].exists():
        raise OSError(f"y_{part}.npy, or both N_{part}.npy and C_{part}.npy, are not there")
    X = frames[0] if len(frames) == 1 else pd.concat(frames, axis=1)
    return X, pd.Series(np.load(paths["y"]), name="target")


def write_archive(folder, task, train_val_test):
    """Write float numbers in the authors' layout, in one step.

    ``train_val_test`` are three of (numbers (N, Fn), y (N,)).
    """
    with new_folder(folder) as new:
        for part, (numbers, y) in zip(PARTS, train_val_test, strict=True):
            np.save(new / f"N_{part}.npy", np.asarray(numbers, np.float32))
            np.save(new / f"y_{part}.npy", y)
        task_type = next(there for there, here in TASK_TYPES.items() if here == task)
        (new / "info.json").write_text(json.dumps({"task_type": task_type}))


def fetch_openml_table(number):
    """Return X and y of OpenML dataset ``number`` through scikit-learn, which caches it in
    :func:`data_home`."""
    from sklearn.datasets import fetch_openml

    home = str(data_home() / "openml")
    with (
        told(f"OpenML dataset {number} could not be fetched", OSError, ValueError),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # that it tries again is no news
        bunch = fetch_openml(data_id=number, as_frame=True, data_home=home, parser="auto")
    if bunch.target is None:
        raise HarnessError(
            f"OpenML dataset {number} names no target column; download it and use --data FILE "
            f"--target COLUMN"
        )
    return bunch.data, bunch.target


def from_table(name, X, y, split=None, task=None, seed=0, n_rows=None):
    """Return a dataset of a table: its split column's, or the paper's rule (see
    :func:`benchmarks.tables.splits.split_rows`, also for ``seed`` and ``n_rows``).

    Parameters
    ----------
    X : DataFrame
    y : Series
        Rows where it is missing are left out.
    split : Series of {"train", "val", "test"}, optional
        Without "val", a fifth of the training rows becomes that.
    task : {"regression", "binary", "multiclass"}, optional
        By default: classes for text, booleans and up to 20 different whole numbers, else
        regression.
    """
    kept = y.notna()
    if not kept.any():
        raise HarnessError(f"{name}: the target column {y.name!r} has no value at all")
    if not kept.all():
        X, y, split = X[kept], y[kept], None if split is None else split[kept]
    if y.nunique() < 2:
        raise HarnessError(
            f"{name}: the target column {y.name!r} is constant (always {y.iloc[0]}): nothing "
            f"to learn"
        )
    task, y = _task_and_target(name, y, task)
    rows = split_rows(y, task, seed, n_rows) if split is None else _rows_of(name, y, split, task)
    if min(len(r) for r in rows) == 0:
        raise HarnessError(f"{name}: {len(y)} rows are too few for three parts")
    return Dataset(name, task, *parts_of(X, y, rows))


def _task_and_target(name, y, task):
    is_number = pd.api.types.is_numeric_dtype(y) and not pd.api.types.is_bool_dtype(y)
    if task is None:
        whole = is_number and (y == y.round()).all()
        task = "regression" if is_number and not (whole and y.nunique() <= 20) else "classes"
    if task == "regression":
        if not is_number:
            raise HarnessError(
                f"{name}: the target column {y.name!r} is {y.dtype}, not a number: no regression"
            )
        return task, y.astype(np.float64)
    y = y.astype(np.int64) if is_number and (y == y.round()).all() else y.astype(str)
    return ("binary" if y.nunique() == 2 else "multiclass"), y


def _rows_of(name, y, split, task):
    found = set(split.dropna().unique())
    has_missing = bool(split.isna().any())
    if has_missing or not {"train", "test"} <= found <= set(PARTS):
        given = ", ".join(sorted(map(repr, found))) + " and missing values" * has_missing
        raise HarnessError(
            f"{name}: the split column {split.name!r} must hold train, test and perhaps val, "
            f"got {given}"
        )
    train, val, test = (np.flatnonzero(split == part) for part in PARTS)
    if not len(val):
        first, second = split_train(y.iloc[train], task)
        train, val = train[first], train[second]
    return train, val, test


def described(folder):
    """Return what ``datasets.json`` of a folder of tables says of each: a dict by name with its
    ``task``.

    Raises
    ------
    HarnessError
        When the folder has none, or it cannot be read.
    """
    path = Path(folder) / "datasets.json"
    found = read_json(path, _check_described)
    if found is None:
        raise HarnessError(
            f"{folder} is no folder of tables: it needs datasets.json, "
            '{"NAME": {"task": "regression"}, …}, and NAME.parquet with the column target'
        )
    return found


def _check_described(found):
    check_dict(found)
    for name, facts in found.items():
        if not isinstance(facts, dict) or facts.get("task") not in TASK_TYPES.values():
            raise ValueError(f"{name} has no task (one of {', '.join(TASK_TYPES.values())})")


def read_table(folder, table):
    """Return X, y and the task of a table in a folder that has a ``datasets.json``.

    A column ``split`` is left out: the rows are drawn anew.
    """
    facts = described(folder)
    path = Path(folder) / f"{table}.parquet"
    if table not in facts or not path.exists():
        there = [name for name in facts if (Path(folder) / f"{name}.parquet").exists()]
        raise HarnessError(f"{folder}: {unknown('the table', table, there)}")
    with told(f"{path} is damaged", ValueError, OSError):
        frame = pd.read_parquet(path)
    if "target" not in frame:
        raise HarnessError(f"{path} has no column target")
    X = frame.drop(columns=["target", "split"], errors="ignore")
    return X, frame["target"], facts[table]["task"]


def read_file(path, target, split=None, task=None):
    """Return the dataset in a CSV or Parquet file.

    Parameters
    ----------
    path : path
        Ends in .csv (or .csv.gz and the like) or .parquet. Text columns of a CSV file that hold
        only ISO dates become dates.
    target : str
        The column to predict.
    split : str, optional
        A column of train, val and test.
    task : str, optional
        See :func:`from_table`.

    Raises
    ------
    HarnessError
        When the file cannot be read, or a column is not there or of no use.
    """
    path = Path(path)
    is_parquet = path.suffix == ".parquet"
    if not is_parquet and ".csv" not in path.suffixes:
        raise HarnessError(f"{path}: --data takes a .csv or .parquet file, or openml:NUMBER")
    if not path.exists():
        raise HarnessError(f"{path}: there is no such file")
    with told(f"{path} is damaged or not what its name says", ValueError, OSError):
        table = pd.read_parquet(path) if is_parquet else pd.read_csv(path)
    for column in filter(None, (target, split)):
        if column not in table.columns:
            there = list(map(str, table.columns))
            raise HarnessError(f"{path}: {unknown('the column', column, there)}")
    X = table.drop(columns=[target, split] if split else [target])
    if not is_parquet:
        dates = {name: _dates(X[name]) for name in X.columns}
        X = X.assign(**{name: found for name, found in dates.items() if found is not None})
    return from_table(dataset_name(path), X, table[target], table[split] if split else None, task)


def dataset_name(path):
    """Return the name of a user's table, that of its file, fit for a folder."""
    stem = Path(path).name.split(".")[0]
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in stem).lstrip("-") or "table"


def _dates(column):
    """Return a text column of ISO dates as dates; None for any other."""
    if pd.api.types.is_numeric_dtype(column) or not column.notna().any():
        return None
    dates = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
    return dates.dt.tz_localize(None) if dates.notna().sum() == column.notna().sum() else None
