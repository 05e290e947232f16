"""A greedy blend of networks and three boosted trees beside its members: ``python -m
benchmarks.blend FOLDER``.

FOLDER holds a table ``NAME.parquet`` each, with its target in the column ``target`` and, where
there is one, an official split in ``split``. Each table is written to ``reports/blend.json`` and
``reports/blend.md`` when it is done; a second start goes on with the tables that are not there.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split

import tabdl
from benchmarks.boosted import boosted_trees
from benchmarks.errors import HarnessError
from benchmarks.files import locked, read_json, writable_folder, write_json, write_text
from benchmarks.models.registry import MODELS

TABLES = (
    "california_housing",
    "adult",
    "fars",
    "bike_sharing",
    "vehicle_coupon",
    "sleep",
    "diamonds",
    "telco_churn",
    "concrete",
    "phoneme",
)
NETWORKS = ("tabm", "ft_transformer", "resnet")
REPORTS = Path(__file__).parent / "reports"
_TEST_ROWS = 10_000


def arguments(argv=None):
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.blend", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="where the tables are")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), metavar="NAME")
    parser.add_argument(
        "--networks",
        nargs="+",
        default=list(NETWORKS),
        choices=list(NETWORKS),
        help="members beside the trees",
    )
    parser.add_argument(
        "--rows", type=int, default=2000, help="training rows, drawn at random (default 2000)"
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument(
        "--time-limit",
        type=float,
        default=25,
        metavar="S",
        help="seconds a fold of a network (default 25)",
    )
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument(
        "--out", type=writable_folder, default=REPORTS, help="where blend.json and blend.md go"
    )
    return parser.parse_args(argv)


def read(path, n_rows):
    """Return X and y of ``n_rows`` training rows and of at most 10,000 test rows, and whether the
    target is a number."""
    table = pd.read_parquet(path)
    is_regression = pd.api.types.is_float_dtype(table["target"]) or table["target"].nunique() > 100
    labels = None if is_regression else table["target"]
    if "split" in table:
        train, test = table[table["split"] != "test"], table[table["split"] == "test"]
    else:
        train, test = train_test_split(table, test_size=0.2, random_state=0, stratify=labels)
    train, test = (
        _some(part, n, is_regression) for part, n in ((train, n_rows), (test, _TEST_ROWS))
    )
    (X, y), (X_test, y_test) = (
        (part.drop(columns=["target", "split"], errors="ignore"), part["target"])
        for part in (train, test)
    )
    known = np.isin(y_test, y) if not is_regression else np.full(len(y_test), True)
    return X, y.to_numpy(), X_test[known], y_test[known].to_numpy(), is_regression


def _some(part, n_rows, is_regression):
    if len(part) <= n_rows:
        return part.reset_index(drop=True)
    if is_regression:
        return part.sample(n_rows, random_state=0).reset_index(drop=True)
    common = part[part.groupby("target")["target"].transform("size") > 1]
    return train_test_split(common, train_size=n_rows, random_state=0, stratify=common["target"])[
        0
    ].reset_index(drop=True)


def members(X, is_regression, options):
    """Return the members by name."""
    common = {"time_limit": options.time_limit, "n_jobs": options.n_jobs}
    nets = {name: MODELS[name].estimator(is_regression)(**common) for name in options.networks}
    return nets | boosted_trees(X, is_regression, options.n_jobs)


def measure(path, options):
    """Return what one table gives: the error on the test part of the blend and of each member,
    weights and seconds."""
    X, y, X_test, y_test, is_regression = read(path, options.rows)
    chosen = members(X, is_regression, options)
    kind = tabdl.GreedyEnsembleRegressor if is_regression else tabdl.GreedyEnsembleClassifier
    start = time.perf_counter()
    blend = kind(list(chosen.items()), cv=options.folds, random_state=0, verbose=2).fit(X, y)
    seconds = time.perf_counter() - start

    def error(model):
        if is_regression:
            return float(root_mean_squared_error(y_test, model.predict(X_test)))
        return float(log_loss(y_test, model.predict_proba(X_test), labels=model.classes_))

    return {
        "table": path.stem,
        "metric": "RMSE" if is_regression else "log loss",
        "n_classes": None if is_regression else len(np.unique(y)),
        "n_rows": [len(X), len(X_test)],
        "n_columns": [X.shape[1], X.select_dtypes(exclude="number").shape[1]],
        "blend": error(blend),
        "members": {name: error(member) for name, member in blend.members_.items()},
        "out_of_fold": {"blend": -max(blend.score_path_)}
        | {name: -score for name, score in blend.member_scores_.items()},
        "weights": blend.weights_,
        "stop_reasons": {
            name: [fit.stop_reason_ for fit in blend.members_[name].estimators_]
            for name in options.networks
        },
        "seconds": seconds,
    }


def report(results, settings, command):
    """Return the results as Markdown."""
    names = list(results[0]["members"])
    beats_best = sum(r["blend"] < min(r["members"].values()) for r in results)
    beats_catboost = sum(r["blend"] < r["members"]["catboost"] for r in results)
    reasons = [reason for r in results for fits in r["stop_reasons"].values() for reason in fits]
    columns = [
        "table",
        "rows (train, test)",
        "columns (of them text)",
        "classes",
        "metric",
        "blend",
        *names,
    ]
    columns += ["blend against the best member", "against CatBoost", "weights", "minutes"]
    lines = [
        "# A greedy blend beside its members",
        "",
        "Error on the test part (log loss, or RMSE), lower is better: of a greedy blend, and "
        "of each member.",
        "All are means over the folds of one cross-validation; weights are chosen on "
        "out-of-fold predictions and never see the",
        f"test part. Members have their defaults, networks at most {settings['time_limit']:g} s a "
        f"fold (which ended {reasons.count('time_limit')} of {len(reasons)}",
        "fits), and boosted trees up to 2,000 trees and early stopping after 50; every "
        "member stops by an inner fifth of its",
        "training rows. The training rows are a random sample: these are results for small "
        "tables. No table was left out after",
        "its result was known.",
        "",
        f"`{command}`, one core, no GPU",
        "",
        f"**The blend is better than its best member on {beats_best} of {len(results)} tables, and "
        f"better than CatBoost alone on {beats_catboost} of {len(results)}.**",
        "The best member is the one that is best on the test part, which nobody knows before.",
        "",
        "| " + " | ".join(columns) + " |",
        "| --- " * len(columns) + "|",
    ]
    for r in results:
        best = min(r["members"].values())
        scores = " | ".join(f"{r['members'][name]:.4f}" for name in names)
        weights = ", ".join(f"{name} {share:.2f}" for name, share in r["weights"].items() if share)
        cells = [
            r["table"],
            "{:,}, {:,}".format(*r["n_rows"]),
            "{} ({})".format(*r["n_columns"]),
            str(r["n_classes"] or "–"),
        ]
        cells += [r["metric"], f"{r['blend']:.4f}", scores, f"{r['blend'] / best - 1:+.1%}"]
        cells += [
            f"{r['blend'] / r['members']['catboost'] - 1:+.1%}",
            weights,
            f"{r['seconds'] / 60:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def check(stored):
    """Raise ValueError for what is no file of results."""
    if not isinstance(stored, dict) or not {"settings", "results"} <= stored.keys():
        raise ValueError("it has no settings and results")


def main(argv=None):
    """Measure the tables that have no result yet, and write the report after each."""
    argv = sys.argv[1:] if argv is None else argv
    options = arguments(argv)
    absent = [name for name in options.tables if not (options.folder / f"{name}.parquet").exists()]
    if absent:
        sys.exit(f"{options.folder} has no {absent[0]}.parquet")
    try:
        with locked(options.out, wait=False):
            measure_missing(options, argv)
    except HarnessError as error:
        sys.exit(f"error: {error}")


def measure_missing(options, argv):
    """Measure the tables that have no result in the folder ``out``."""
    out = options.out / "blend.json"
    settings = {
        name: getattr(options, name)
        for name in ("networks", "rows", "folds", "time_limit", "n_jobs")
    }
    stored = read_json(out, check) or {"settings": settings, "results": []}
    if stored["settings"] != settings:
        sys.exit(
            f"{out} has results of other settings: {stored['settings']}; move it away, or "
            f"give --out another folder."
        )
    command = f"python -m benchmarks.blend FOLDER {' '.join(argv[1:])}".strip()
    for name in options.tables:
        if name not in [result["table"] for result in stored["results"]]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                stored["results"].append(measure(options.folder / f"{name}.parquet", options))
            write_json(out, stored)
        write_text(options.out / "blend.md", report(stored["results"], settings, command))


if __name__ == "__main__":
    main()
