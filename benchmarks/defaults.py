"""Which estimator does best untuned on small tables? ``python -m benchmarks.defaults``.

Fits each configuration on a part of each development table, with several seeds, and writes a
report: a table at a time, mean rank and mean relative error. A seed draws the training, validation
and test rows, the same for all configurations; the validation rows stop the training, and the test
rows are predicted once. Each fit is one line of the results file, and a fit that has its line is
not made again.

The networks of pytabkit are fitted in an environment of their own, whose Python is given: see
peers.py.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split

from benchmarks.boosted import N_TREES, PATIENCE, Texts, names_of_categories
from benchmarks.files import append_json_line, locked, read_json_lines, writable_file, write_text
from benchmarks.models.registry import MODELS, network_names
from benchmarks.peers import fit_theirs

REPORT = Path(__file__).parent / "reports" / "defaults.md"
TEST_ROWS = 3000
TABLES = (
    "california_housing",
    "bike_sharing",
    "cpu_act",
    "wine_quality",
    "concrete",
    "adult",
    "phoneme",
    "magic",
    "telco_churn",
    "credit_g",
    "online_shoppers",
    "sleep",
)
NETS = {name: (name, {}) for name in network_names()} | {
    "mlp-paper": ("mlp", {"numeric_embedding": None}),
    "resnet-paper": ("resnet", {"numeric_embedding": None}),
}
# Those of pytabkit: the name in peers_fit.py, and pytabkit's.
PEERS = {
    "pytabkit-realmlp": ("realmlp", "RealMLP_TD"),
    "pytabkit-tabm": ("tabm", "TabM_D"),
    "pytabkit-ftt": ("ftt", "FTT_D"),
}
CONFIGURATIONS = ("catboost", *NETS, *PEERS)


def fit_net(configuration, train, val, is_regression, seed):
    """Return a fitted estimator of ours."""
    network, parameters = NETS[configuration]
    cls = MODELS[network].estimator(is_regression)
    return cls(**parameters, random_state=seed).fit(*train, X_val=val[0], y_val=val[1])


def fit_catboost(train, val, is_regression, seed):
    """Return CatBoost with its defaults but 2,000 trees at most, stopped by the validation loss."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    cls = CatBoostRegressor if is_regression else CatBoostClassifier
    options = {
        "iterations": N_TREES,
        "early_stopping_rounds": PATIENCE,
        "random_seed": seed,
        "thread_count": 1,
    }
    model = cls(**options, allow_writing_files=False, verbose=False)
    return model.fit(*train, cat_features=names_of_categories(train[0]), eval_set=val)


def train_val_test(table, is_regression, n_rows, seed):
    """Return (X, y) of training, validation and test rows: 80 and 20 per cent of ``n_rows``, and at
    most 3,000 others."""
    X, y = table.drop(columns=["target", "split"], errors="ignore"), table["target"]
    n_rows = min(n_rows, len(table) * 4 // 5)
    X = Texts().fit_transform(X)  # CatBoost takes no missing category
    y = y.astype(float) if is_regression else y.astype(str)
    options = {"random_state": seed, "stratify": None if is_regression else y}
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=n_rows, test_size=min(len(y) - n_rows, TEST_ROWS), **options
    )
    options["stratify"] = None if is_regression else y
    X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.2, **options)
    return (X_train, y_train), (X_val, y_val), (X_test, y_test)


def evaluate(configuration, table, is_regression, n_rows, seed, python=None):
    """Return the record of one fit: errors (RMSE or log loss) of test and validation rows, and the
    processor's seconds.

    The validation error is of our estimators and CatBoost alone.
    """
    train, val, test = three = train_val_test(table, is_regression, n_rows, seed)
    if configuration in PEERS:
        predictions, seconds = fit_theirs(
            python, PEERS[configuration][0], not is_regression, complete(three), seed, None
        )
        classes = None if is_regression else np.unique(train[1])
        return {
            "error": error(test[1], predictions, classes),
            "val_error": None,
            "cpu_s": seconds[1],
        }
    start = time.process_time()
    if configuration == "catboost":
        model = fit_catboost(train, val, is_regression, seed)
    else:
        model = fit_net(configuration, train, val, is_regression, seed)
    cpu_s = time.process_time() - start
    predict, classes = (
        (model.predict, None) if is_regression else (model.predict_proba, model.classes_)
    )
    errors = {
        "error": error(test[1], predict(test[0]), classes),
        "val_error": error(val[1], predict(val[0]), classes),
    }
    return errors | {"cpu_s": cpu_s}


def error(y, predictions, classes):
    """Return the RMSE, or the log loss of probabilities of ``classes``."""
    return float(
        root_mean_squared_error(y, predictions)
        if classes is None
        else log_loss(y, predictions, labels=classes)
    )


def complete(three):
    """Return the parts with the training rows' medians for missing numbers, which not all of
    pytabkit's networks take."""
    medians = three[0][0].median(numeric_only=True)
    return [(X.fillna(medians), y) for X, y in three]


def run(data, results, tables, configurations, seeds, n_rows, python):
    """Return the records of all fits; those that ``results`` has not are made."""
    described = json.loads((data / "datasets.json").read_text())

    def measure(table, configuration, seed, rows):
        frame = pd.read_parquet(data / f"{table}.parquet")
        return evaluate(
            configuration, frame, described[table]["task"] == "regression", rows, seed, python
        )

    wanted = [
        {"table": table, "configuration": configuration, "seed": seed, "rows": n_rows}
        for seed in range(seeds)
        for table in tables
        for configuration in configurations
    ]
    return resume(results, wanted, measure)


def resume(results, wanted, measure):
    """Return the record of each fit of ``wanted``; those that the file ``results`` has not are
    made, each a line of it.

    A second command on the same file waits, and then finds what the first has made.

    Parameters
    ----------
    results : Path
    wanted : list of dict
        What a fit is told by.
    measure : callable
        Gets what a fit is told by, as keyword arguments, and returns the rest of its record.
    """
    with locked(results):
        done = {}
        for record in read_json_lines(results):
            done[tuple(record.get(name) for name in wanted[0])] = record
        for fit in wanted:
            key = tuple(fit.values())
            if key not in done:
                done[key] = fit | measure(**fit)
                append_json_line(results, done[key])
                print(", ".join(f"{name} {value}" for name, value in fit.items()), flush=True)
    return [done[tuple(fit.values())] for fit in wanted]


def report(records, command):
    """Return the report in Markdown."""
    frame = pd.DataFrame(records)
    errors, spread, val_errors, seconds = (
        frame.pivot_table(
            index="table", columns="configuration", values=value, aggfunc=function, sort=False
        )
        for value, function in (
            ("error", "mean"),
            ("error", "std"),
            ("val_error", "mean"),
            ("cpu_s", "median"),
        )
    )
    spread = spread.reindex_like(errors)  # a configuration of one seed has none
    ranks, val_ranks = errors.rank(axis=1).mean(), val_errors.rank(axis=1).mean()
    names = ranks.sort_values(kind="stable").index
    lines = [
        "# Untuned on small tables",
        "",
        f"`{command}`",
        "",
        __doc__.split("\n\n")[1].replace("\n", " "),
        "",
    ]
    lines += [
        f"At most {frame['rows'].iloc[0]:,} rows for training and validation, at most "
        f"{TEST_ROWS:,} test rows, {frame['seed'].nunique()} seeds. Error: RMSE of regression, log "
        "loss of classification, mean over the seeds. Relative error: how much larger than the "
        "smallest error of the table, mean over the tables. The rank on the validation rows, by "
        "which a default is chosen, is among our estimators and CatBoost. pytabkit's networks "
        "stop by the log loss, TabM_D by accuracy (see peers_fit.py), and smooth no labels. "
        "Seconds are one thread's, the median.",
        "",
        "| configuration | parameters | mean rank | relative error | best on | better than "
        "CatBoost on | rank, validation | fit s |",
        "| --- |" + " --- |" * 7,
    ]
    relative = errors.div(errors.min(axis=1), axis=0) - 1
    for name in names:
        better = (
            f"{(errors[name] < errors['catboost']).sum()} of {errors[name].notna().sum()}"
            if "catboost" in errors
            else "–"
        )
        lines.append(
            f"| {name} | {_parameters(name)} | {ranks[name]:.2f} | {relative[name].mean():.1%} | "
            f"{(errors.idxmin(axis=1) == name).sum()} | {'–' if name == 'catboost' else better} | "
            f"{f'{val_ranks[name]:.2f}' if name in val_ranks else '–'} | "
            f"{seconds[name].median():.1f} |"
        )
    lines += [
        "",
        "Errors and seconds:",
        "",
        "| table | " + " | ".join(names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    for table, row in errors.iterrows():
        cells = [
            _cell(row[name], spread.at[table, name], row.min(), seconds.at[table, name])
            for name in names
        ]
        lines.append(f"| {table} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _parameters(name):
    if name == "catboost":
        return "2,000 trees, early stopping after 50"
    if name in PEERS:
        return f"{PEERS[name][1]}, defaults"
    network, parameters = NETS[name]
    architecture = MODELS[network].classifier.__name__.removesuffix("Classifier")
    return f"{architecture}, " + (
        ", ".join(f"{key}={value!r}" for key, value in parameters.items()) or "defaults"
    )


def _cell(error, deviation, smallest, seconds):
    text = f"{error:.4g}" + ("" if pd.isna(deviation) else f" ± {deviation:.2g}")
    return (f"**{text}**" if error == smallest else text) + f", {seconds:.1f} s"


def main(argv=None):
    """Run what is missing and write the report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.defaults", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="where the development tables are"
    )
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument(
        "--configurations",
        nargs="+",
        choices=CONFIGURATIONS,
        help="default: all, pytabkit's with --python",
    )
    parser.add_argument("--python", help="the Python of the environment that has pytabkit")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3000, help="training and validation rows")
    parser.add_argument("--results", type=writable_file, default=REPORT.with_suffix(".jsonl"))
    parser.add_argument("--report", type=writable_file, default=REPORT)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    configurations = options.configurations or [
        name for name in CONFIGURATIONS if options.python or name not in PEERS
    ]
    if options.python is None and not PEERS.keys().isdisjoint(configurations):
        parser.error(
            "pytabkit's configurations need --python, the Python of the environment that has "
            "pytabkit"
        )
    if not (options.data / "datasets.json").exists():
        print(
            f"Nothing to do: no development tables (datasets.json and a parquet a table) in "
            f"{options.data}."
        )
        return
    records = run(
        options.data,
        options.results,
        options.tables,
        configurations,
        options.seeds,
        options.rows,
        options.python,
    )
    command = shlex.join(
        ["python", "-m", "benchmarks.defaults", *(sys.argv[1:] if argv is None else argv)]
    )
    write_text(options.report, report(records, command))
    print(options.report)


if __name__ == "__main__":
    main()
