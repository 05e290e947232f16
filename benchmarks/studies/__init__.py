"""Studies: questions about parameters, answered from run directories.

A study says which models it compares on which tables, and makes Markdown of the frame of their
runs. ``python -m benchmarks.run study NAME`` makes the runs that are not there, in the one results
folder, and prints the answer. To add a study, add a module with a ``STUDY`` to this package; its
name is that of the command.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from benchmarks.errors import HarnessError, unknown
from benchmarks.report.table import markdown
from benchmarks.runs.evaluate import folder_of
from benchmarks.runs.results import Experiment, Variant, read
from benchmarks.tables.datasets import DATA, ELEVEN, sample, tables_of, with_split

SHIPPED = ("california_housing", "adult")
TWELVE = (
    *("california_housing", "bike_sharing", "cpu_act", "wine_quality", "concrete", "adult"),
    *("phoneme", "magic", "telco_churn", "credit_g", "online_shoppers", "sleep"),
)
"""The small tables on which the defaults were chosen."""


@dataclass(frozen=True)
class Entry:
    """One of the things that a study compares.

    Attributes
    ----------
    model : str
        A name of :data:`benchmarks.models.registry.MODELS`.
    variant : Variant, optional
        Parameters that override the configuration.
    config : {"default", "paper-tuned"}
    protocol : {"plain", "paper"}
    tables : tuple of str
        Where it is compared; all tables of the study by default.
    """

    model: str
    variant: Variant | None = None
    config: str = "default"
    protocol: str = "plain"
    tables: tuple[str, ...] = ()

    @property
    def name(self):
        """What tables and ``--only`` call it."""
        return self.model if self.variant is None else f"{self.model} {self.variant.name}"


def entries(model, variants, base=None, **how):
    """Return an entry for each variant of a model.

    Parameters
    ----------
    model : str
    variants : dict
        From a name to parameters.
    base : dict, optional
        Parameters of all of them.
    **how
        Other attributes of :class:`Entry`.
    """
    return tuple(
        Entry(model, Variant(name, (base or {}) | parameters), **how)
        for name, parameters in variants.items()
    )


@dataclass(frozen=True)
class Study:
    """What is compared, on what, and what is said about it.

    Attributes
    ----------
    question : str
        One or two sentences: the head of its report.
    compared : tuple of Entry
    answer : callable
        From the frame of :func:`frame_of` to Markdown; the errors by default.
    tables : tuple of str
        Names in a folder of tables; without one, the two shipped tables serve.
    folder : path, "openml" or "synthetic"
        Where the tables are, unless the command says otherwise.
    draw : callable, optional
        From the same frame and a path to a figure there, beside the report.
    rows : tuple of (int or None)
        Training and validation rows of a drawn part of each table; None is the whole table in its
        own split, with the same rows for every seed.
    n_seeds : int
        A seed draws the part of the table and is the fit's.
    changed : dict
        What is done to which tables, see :data:`benchmarks.tables.datasets.CHANGES`.
    split : {"paper", "later"}
        Of whole tables: see :func:`benchmarks.tables.datasets.with_split`.
    """

    question: str
    compared: tuple[Entry, ...]
    answer: Callable[[pd.DataFrame], str] = lambda frame: markdown(error_table(frame))
    tables: tuple[str, ...] = SHIPPED
    folder: Path | str = DATA
    draw: Callable[[pd.DataFrame, Path], None] | None = None
    rows: tuple[int | None, ...] = (1000,)
    n_seeds: int = 3
    changed: Mapping[str, str] = field(default_factory=dict)
    split: str = "paper"


def study_names():
    """Return the names of all studies."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def find_study(name):
    """Return the study of a name.

    Raises
    ------
    HarnessError
        When there is none.
    """
    if name not in study_names():
        raise HarnessError(unknown("the study", name or "", study_names()))
    return importlib.import_module(f"{__name__}.{name}").STUDY


def runs_of(study, name, options):
    """Return (experiment, seed) of each run of a study, in an order that reads a table once.

    Parameters
    ----------
    study : Study
    name : str
        For the command in messages.
    options : Namespace
        ``folder``, ``tables``, ``rows``, ``seeds``, ``only``, ``device``, ``time_limit``, ``out``.

    Raises
    ------
    HarnessError
        When tables are not there or names are unknown; the message has the command to give.
    """
    compared = _chosen(study, options.only)
    sources = list(_sources(study, name, options))
    how = options.device, options.time_limit or None, str(options.out)
    return [
        (Experiment(source, e.model, e.config, *how, e.variant, e.protocol), seed)
        for table, source, seed in sources
        for e in compared
        if not e.tables or table in e.tables
    ]


def _chosen(study, only):
    names = [entry.name for entry in study.compared]
    for name in only or []:
        if name not in names and name not in {entry.model for entry in study.compared}:
            raise HarnessError(unknown("--only", name, names))
    return [e for e in study.compared if not only or e.name in only or e.model in only]


def _sources(study, name, options):
    tables, folder = options.tables, options.folder or study.folder
    if tables is None:
        there = {DATA: SHIPPED, "openml": tables_of("openml")}.get(folder, study.tables)
        tables = [t for t in study.tables if t in there] or SHIPPED
    absent = [table for table in tables if table not in tables_of(folder)]
    if absent:
        downloaded = ", ".join(t for t in absent if t in tables_of("openml")) or "none of them"
        raise HarnessError(
            f"study {name} lacks {', '.join(absent)}, which {folder} has not. Give the folder that "
            f"has them: python -m benchmarks.run study {name} --folder FOLDER, or --folder openml, "
            f"which downloads {downloaded}"
        )
    seeds = range(study.n_seeds) if options.seeds is None else options.seeds
    for rows in options.rows or study.rows:
        for seed in seeds:
            for table in tables:
                if rows is None and folder == DATA and table in ELEVEN:
                    yield table, with_split(table, study.split), seed
                else:
                    yield table, sample(table, folder, rows, seed, study.changed.get(table)), seed


def frame_of(runs):
    """Return a line for each run that is there.

    Its columns: ``table``, ``rows``, ``change``, ``seed``, ``model``, ``variant``, ``name`` (of
    both), ``metric``, ``error`` and ``val_error`` (RMSE or log loss), ``test`` and ``val`` (dicts
    of all metrics), ``fit_s``, ``cpu_s``, ``predict_s``, ``n_parameters``, ``n_iter``,
    ``best_iter``, ``history`` and ``members`` (the metrics of an ensemble's members).
    """
    found = [(e, seed, read(folder_of(e, seed))) for e, seed in runs]
    return pd.DataFrame([_line(*run) for run in found if run[2] is not None])


def _line(experiment, seed, report):
    source, model, variant = experiment.source, experiment.model, experiment.variant_name or ""
    test, val = (report["metrics"][part] for part in ("test", "val"))
    metric = "rmse" if "rmse" in test else "log_loss"
    config = "" if experiment.config == "default" else f", {experiment.config}"
    line = {"table": source.table or source.name, "rows": source.rows, "seed": seed}
    line |= {"change": source.change or "", "model": model, "variant": variant}
    line |= {"name": f"{model} {variant}".strip() + config, "metric": metric}
    line |= {"error": test[metric], "val_error": val[metric], "test": test, "val": val}
    line |= {f"{name}_s": seconds for name, seconds in report["seconds"].items()}
    copied = ("n_parameters", "n_iter", "best_iter", "history", "hit_time_limit")
    return line | {name: report[name] for name in copied} | {"members": report.get("members", {})}


def mean_and_spread(values, digits=4):
    """Return the mean of some values, with their deviation where there are several."""
    spread = f" ± {values.std(ddof=1):.2g}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}g}{spread}"


def error_table(frame):
    """Return mean and deviation of the test error: a line a table, a column a name."""
    index = [name for name in ("table", "rows", "change") if frame[name].nunique(dropna=False) > 1]
    return frame.pivot_table("error", index or "table", "name", aggfunc=mean_and_spread, sort=False)


def ratios_to(frame, base, column="error", of="name"):
    """Return a number of each fit over that of ``base`` on the same rows.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`frame_of`.
    base : str
        A name, or a variant; without its fits all ratios are missing.
    column : str
    of : {"name", "variant"}
        What is compared; of variants, those of the same model.

    Returns
    -------
    DataFrame
        A line for each ``table``, ``rows`` (0: all) and ``seed``, of variants each ``model`` too; a
        column a name or variant.
    """
    keys = ["table", "rows", "seed", *(["model"] if of == "variant" else [])]
    found = frame.fillna({"rows": 0}).pivot_table(column, keys, of, sort=False)
    return found.div(found[base] if base in found else float("nan"), axis=0)


def changes_by_table(frame, base):
    """Return how the error of each variant differs from that of the variant ``base`` on the same
    rows: a fraction, mean over seeds and models; a line for each ``table`` and ``rows``."""
    change = ratios_to(frame, base, of="variant").drop(columns=base) - 1
    return change.groupby(["table", "rows"], sort=False).mean()


def changes_of(frame, base):
    """Return how the error of each name differs from that of ``base`` on the same rows.

    Returns
    -------
    DataFrame
        A line a name: ``tables``, ``change`` (mean over the tables of the mean over the seeds, a
        fraction), ``better``, ``neither``, ``worse`` (tables on which the change exceeds its
        standard error over the seeds) and ``seconds`` (the median ratio).
    """
    errors, seconds = (
        ratios_to(frame, base, column).drop(columns=base, errors="ignore")
        for column in ("error", "cpu_s")
    )
    tables = (errors - 1).groupby(["table", "rows"], sort=False)
    change, error = tables.mean(), tables.sem().fillna(0)
    found = {"tables": change.count(), "change": change.mean(), "better": (change < -error).sum()}
    found |= {"neither": (change.abs() <= error).sum(), "worse": (change > error).sum()}
    return pd.DataFrame(found | {"seconds": seconds.median()}).rename_axis("name").reset_index()


__all__ = ["markdown"]  # for the studies
