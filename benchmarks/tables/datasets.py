"""The datasets: the paper's eleven tables, each with its fixed split, and any table of the user's
own.

California Housing and Adult are shipped. The others come from the authors' archive, where one is
given, or are downloaded from their public source and kept as arrays, so that the next start reads
nothing but these.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from benchmarks.errors import HarnessError, unknown
from benchmarks.tables import public, sources, synthetic
from benchmarks.tables.splits import PARTS, Dataset, parts_of, split_rows, split_train

DATA = Path(__file__).parent / "shipped"


def _shipped(name, task):
    table = pd.read_parquet(DATA / f"{name}.parquet")
    rows = [np.flatnonzero(table["split"] == part) for part in PARTS]
    return Dataset(name, task, *parts_of(*_X_y(table), rows))


def _X_y(table):
    return table.drop(columns=["target", "split"]), table["target"]


def california_housing():
    """Pace and Barry 1997, 20,640 rows, 8 numbers, no categories; the paper's split. CC0."""
    return _shipped("california_housing", "regression")


def adult():
    """UCI Adult (Kohavi 1996), 48,842 rows, 6 numbers, 8 categories with missing values; the
    official test part. CC BY 4.0.

    Training and validation rows by the rule that gives the paper's sizes: ``train_test_split`` of
    the first 32,561 rows with ``test_size=0.2, random_state=0``, stratified.
    """
    return _shipped("adult", "binary")


DATASETS = {"california_housing": california_housing, "adult": adult}
"""Those that need no download."""


@dataclass(frozen=True)
class Entry:
    """A row of the table of eleven.

    Attributes
    ----------
    task : str
    sizes : tuple of int
        Training, validation and test rows.
    n_features : int
    numeric_transform : str
        What the paper does to its numbers before a net sees them.
    totals : tuple of int
        Rows of the first classes, in all three parts together, by the authors' run reports.
    openml : int, optional
        Its number at OpenML.
    fetch : callable or None
        Returns three of (numbers (N, Fn), y (N,)) from the public source; None where the table is
        shipped.
    """

    task: str
    sizes: tuple[int, int, int]
    n_features: int
    numeric_transform: str
    totals: tuple[int, ...] = ()
    openml: int | None = None
    fetch: Callable | None = None


def _entry(name, facts):
    fetch = public.FETCHERS.get(name)
    if "openml" in facts:
        fetch = partial(public.openml, facts["openml"], facts["task"])
    tuples = {key: tuple(facts.get(key, ())) for key in ("sizes", "totals")}
    return Entry(**facts | tuples, fetch=fetch)


ELEVEN = {name: _entry(name, facts) for name, facts in public.FACTS["eleven"].items()}
"""The paper's table 7 (``tables.json``). Its splits are fixed; the public sources are split by its
rule (``benchmarks/tables/splits.py``)."""

SMOKE = {
    "smoke_housing": ("california_housing", (240, 80, 80)),
    "smoke_adult": ("adult", (240, 80, 80)),
}
"""The first rows of the shipped tables: (table, training, validation and test rows)."""


@dataclass(frozen=True)
class Source:
    """Which table to load, from where; two equal ones give equal datasets.

    Attributes
    ----------
    name : str
        One of :data:`ELEVEN`, of :data:`SMOKE`, or what to call the user's own table.
    archive : str, optional
        "authors" or "autogluon", which are downloaded, or a folder of the authors' layout; instead
        of the public source.
    data : str, optional
        The user's own: a path, or ``openml:NUMBER``.
    target, split, task : str, optional
        For a table of the user's; see :func:`benchmarks.tables.sources.read_file`.
    folder, table : str, optional
        A folder of tables with a ``datasets.json``, and which of them: see :func:`sample`.
    rows : int, optional
        Of ``table``: training and validation rows.
    draw : int
        Of ``table``: the seed that draws the split, or all of a synthetic table.
    change : str, optional
        Of ``table``: one of :data:`CHANGES`.
    """

    name: str
    archive: str | None = None
    data: str | None = None
    target: str | None = None
    split: str | None = None
    task: str | None = None
    folder: str | None = None
    table: str | None = None
    rows: int | None = None
    draw: int = 0
    change: str | None = None


def sample(table, folder=DATA, rows=None, draw=0, change=None):
    """Return the source of a drawn part of a small table.

    Parameters
    ----------
    table : str
        The name of a parquet file in ``folder``, and its key in ``datasets.json`` there.
    folder : path, "openml" or "synthetic"
        The last has :data:`benchmarks.tables.synthetic.TABLES`.
    rows : int, optional
        Training and validation rows, 80 and 20 per cent of these; all by default.
    draw : int
        The seed that draws the split; runs of other draws stand in other folders.
    change : str, optional
        One of :data:`CHANGES`.
    """
    parts = [table, str(rows or "all"), f"draw{draw}", *([change] if change else [])]
    return Source(
        ".".join(parts), folder=str(folder), table=table, rows=rows, draw=draw, change=change
    )


def with_split(name, split="paper"):
    """Return the source of a table of the paper.

    Parameters
    ----------
    name : str
        One of :data:`ELEVEN`.
    split : {"paper", "later"}
        The paper's; or that of the later papers of its authors, with the same test rows (seed 1
        parts validation from training rows), known for the shipped tables.

    Raises
    ------
    HarnessError
        When the split is not known.
    """
    if split == "paper":
        return Source(name)
    if name not in DATASETS:
        raise HarnessError(f"--split later is known for {', '.join(DATASETS)}, not for {name}")
    return Source(f"{name}.later", table=name, split=split)


def _later(name):
    """Return a shipped table in the split of the later papers.

    Rows in the order of their source: those of California Housing stand at the places from which
    the rule took them, those of Adult were never moved.
    """
    table = pd.read_parquet(DATA / f"{name}.parquet")
    if name == "california_housing":
        places = np.concatenate(split_rows(np.arange(len(table)), "regression"))
        table = table.set_index(places).sort_index()
        rows = split_rows(table["target"], "regression", val_seed=1)
    else:
        known = np.flatnonzero(table["split"] != "test")
        train, val = split_train(table["target"].iloc[known], "binary", seed=1)
        rows = known[train], known[val], np.flatnonzero(table["split"] == "test")
    return parts_of(*_X_y(table), rows)


def tables_of(folder):
    """Return the names of the tables of a folder, of the small public ones ("openml") or of the
    paper's section 5.1 ("synthetic")."""
    known = {"openml": public.OPENML, "synthetic": synthetic.TABLES}
    return list(known[folder] if folder in known else sources.described(folder))


def without_large_numbers(X, seed):
    """Return X without most of the large numbers of a random half of its number columns, at least
    two: those of the upper 40 per cent in 60 per cent of the rows, others in 5."""
    rng = np.random.default_rng(seed)
    numbers = list(X.select_dtypes("number").columns)
    X = X.copy()
    for name in rng.choice(numbers, min(len(numbers), max(2, len(numbers) // 2)), replace=False):
        chance = np.where(X[name].rank(pct=True) > 0.6, 0.6, 0.05)
        X[name] = X[name].astype(float).where(rng.random(len(X)) >= chance)
    return X


CHANGES = {"holes": without_large_numbers}
"""What may be done to a drawn table before it is split; from X and a seed to X."""


@lru_cache(maxsize=1)
def load(source):
    """Return the dataset of a :class:`Source`; the last one is kept, so that a worker reads a table
    once.

    Raises
    ------
    HarnessError
        When the table is unknown, cannot be had or is damaged.
    """
    if source.data is not None:
        return _of_the_user(source)
    if source.folder is not None:
        return _drawn(source)
    if source.split == "later":
        return Dataset(source.name, ELEVEN[source.table].task, *_later(source.table))
    if source.name in SMOKE:
        return _first_rows(*SMOKE[source.name], source.name)
    if source.name not in ELEVEN:
        raise HarnessError(unknown("dataset", source.name, [*ELEVEN, *SMOKE]))
    entry = ELEVEN[source.name]
    if source.archive == "authors":
        path = sources.download(public.AUTHORS, "data.tar.gz")
        folder = sources.unpack(path, sources.data_home() / "authors") / "data"
        return _checked(sources.read_archive(folder, source.name, entry.numeric_transform))
    if source.archive not in (None, "autogluon"):
        return sources.read_archive(source.archive, source.name, entry.numeric_transform)
    if entry.fetch is None:
        return DATASETS[source.name]()
    return _checked(_downloaded(source, entry))


def _downloaded(source, entry):
    """Return a table from its public source or the mirror, which is read once and kept as
    arrays."""
    fetch = entry.fetch if source.archive is None else partial(public.autogluon, source.name)
    name = ".".join(filter(None, (source.name, source.archive)))
    folder = sources.data_home() / "prepared" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The other workers wait for the one that downloads.
    with FileLock(folder.parent / f".{name}.lock"):
        if not folder.exists():
            sources.write_archive(folder, entry.task, fetch())
    return sources.read_archive(folder, source.name, entry.numeric_transform)


def _checked(dataset):
    """Return a dataset whose parts and classes have as many rows as the paper's.

    Raises
    ------
    HarnessError
        When they have not.
    """
    entry, name = ELEVEN[dataset.name], dataset.name
    sizes = tuple(len(X) for X, _ in dataset.train_val_test)
    if sizes != entry.sizes:
        raise HarnessError(
            f"{name} has {sizes} rows in its parts, the paper {entry.sizes}; delete its folder in "
            f"{sources.data_home() / 'prepared'}"
        )
    if entry.totals:
        y = np.concatenate([np.asarray(y) for _, y in dataset.train_val_test])
        totals = tuple(np.unique(y, return_counts=True)[1][: len(entry.totals)].tolist())
        if totals != entry.totals:
            raise HarnessError(
                f"{name} has {totals} rows in its first classes, the paper {entry.totals}: it is "
                "another table, or its classes stand in another order"
            )
    return dataset


def _drawn(source):
    if source.folder == "synthetic":
        return _generated(source)
    if source.folder == "openml":
        X, y, task = public.small_table(source.table)
    else:
        X, y, task = sources.read_table(source.folder, source.table)
    if source.change is not None:
        X = CHANGES[source.change](X, source.draw)
    task = "regression" if task == "regression" else "classes"
    return sources.from_table(source.name, X, y, task=task, seed=source.draw, n_rows=source.rows)


def _generated(source):
    if source.table not in synthetic.TABLES:
        raise HarnessError(unknown("the table", source.table, list(synthetic.TABLES)))
    if source.change is not None:
        raise HarnessError(f"{source.table} is synthetic: it is not changed by {source.change}")
    alpha, sizes = synthetic.TABLES[source.table], synthetic.sizes_of(source.rows)
    return synthetic.synthetic(source.name, alpha, sizes, source.draw)


def _of_the_user(source):
    if not source.data.startswith("openml:"):
        return replace(
            sources.read_file(source.data, source.target, source.split, source.task),
            name=source.name,
        )
    number = source.data.removeprefix("openml:")
    if not number.isdecimal():
        raise HarnessError(
            f"--data openml:NUMBER takes the number of an OpenML dataset, got {number!r}"
        )
    X, y = sources.fetch_openml_table(int(number))
    return sources.from_table(source.name, X, y, task=source.task)


def _first_rows(whole, sizes, name):
    dataset = DATASETS[whole]()
    sized = zip(dataset.train_val_test, sizes, strict=True)
    return Dataset(name, dataset.task, *((X.head(n), y.head(n)) for (X, y), n in sized))
