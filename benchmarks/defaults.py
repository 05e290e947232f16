"""Which estimator does best untuned on small tables? ``python -m benchmarks.defaults``.

Fits each configuration on a part of each development table, with several seeds, and writes a report: a table at a time, mean rank
and mean relative error. A seed draws the training, validation and test rows, the same for all configurations; the validation rows
stop the training, and the test rows are predicted once. Each fit is one line of the results file, and a fit that has its line is
not made again.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split

import tabdl

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
# Narrower than the estimators' defaults where those would take more than 20 s on one core.
NETS = {
    "mlp": ("TabMLP", {}),
    "mlp+piecewise": ("TabMLP", {"num_embedding": "piecewise"}),
    "resnet": ("TabResNet", {}),
    "gmlp": ("GMLP", {"d_block": 64, "n_blocks": 2}),
    "tabm": ("TabM", {"k": 16, "d_block": 128}),
    "realmlp": ("RealMLP", {}),
}
CONFIGURATIONS = ("catboost", *NETS)


def fit_net(configuration, train, val, is_regression, seed):
    """Return a fitted estimator of ours."""
    architecture, parameters = NETS[configuration]
    cls = getattr(tabdl, architecture + ("Regressor" if is_regression else "Classifier"))
    return cls(**parameters, random_state=seed).fit(*train, X_val=val[0], y_val=val[1])


def fit_catboost(train, val, is_regression, seed):
    """Return CatBoost with its defaults but 2,000 trees at most, stopped by the validation loss."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    cls = CatBoostRegressor if is_regression else CatBoostClassifier
    categories = train[0].select_dtypes(exclude="number").columns.tolist()
    model = cls(
        iterations=2000, early_stopping_rounds=50, random_seed=seed, thread_count=1, allow_writing_files=False, verbose=False
    )
    return model.fit(*train, cat_features=categories, eval_set=val)


def parts(table, is_regression, n_rows, seed):
    """Return (X, y) of training, validation and test rows: 80 and 20 per cent of ``n_rows``, and at most 3,000 others."""
    X, y = table.drop(columns=["target", "split"], errors="ignore"), table["target"]
    n_rows = min(n_rows, len(table) * 4 // 5)
    names = X.select_dtypes(exclude="number").columns
    # CatBoost takes no missing category.
    X = X.assign(**{name: X[name].astype(object).where(X[name].notna(), "missing").astype(str) for name in names})
    y = y.astype(float) if is_regression else y.astype(str)
    options = {"random_state": seed, "stratify": None if is_regression else y}
    X, X_test, y, y_test = train_test_split(X, y, train_size=n_rows, test_size=min(len(y) - n_rows, TEST_ROWS), **options)
    options["stratify"] = None if is_regression else y
    X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.2, **options)
    return (X_train, y_train), (X_val, y_val), (X_test, y_test)


def evaluate(configuration, table, is_regression, n_rows, seed):
    """Return the record of one fit: the error of the test rows (RMSE or log loss) and the seconds of fit and predict."""
    train, val, (X_test, y_test) = parts(table, is_regression, n_rows, seed)
    start = time.perf_counter()
    if configuration == "catboost":
        model = fit_catboost(train, val, is_regression, seed)
    else:
        model = fit_net(configuration, train, val, is_regression, seed)
    fitted = time.perf_counter()
    if is_regression:
        error = root_mean_squared_error(y_test, model.predict(X_test))
    else:
        error = log_loss(y_test, model.predict_proba(X_test), labels=model.classes_)
    return {"error": float(error), "fit_s": fitted - start, "predict_s": time.perf_counter() - fitted}


def run(data, results, tables, configurations, seeds, n_rows):
    """Return the records of all fits; those that ``results`` has not are made."""
    described = json.loads((data / "datasets.json").read_text())

    def measure(table, configuration, seed, rows):
        frame = pd.read_parquet(data / f"{table}.parquet")
        return evaluate(configuration, frame, described[table]["task"] == "regression", rows, seed)

    wanted = [
        {"table": table, "configuration": configuration, "seed": seed, "rows": n_rows}
        for seed in range(seeds)
        for table in tables
        for configuration in configurations
    ]
    return resume(results, wanted, measure)


def resume(results, wanted, measure):
    """Return the record of each fit of ``wanted``; those that the file ``results`` has not are made, each a line of it.

    Parameters
    ----------
    results : Path
    wanted : list of dict
        What a fit is told by.
    measure : callable
        Gets what a fit is told by, as keyword arguments, and returns the rest of its record.
    """
    lines = results.read_text().splitlines() if results.exists() else []
    records = [json.loads(line) for line in lines]
    done = {tuple(record[name] for name in wanted[0]): record for record in records}
    for fit in wanted:
        key = tuple(fit.values())
        if key in done:
            continue
        done[key] = fit | measure(**fit)
        with results.open("a") as file:
            file.write(json.dumps(done[key]) + "\n")
        print(", ".join(f"{name} {value}" for name, value in fit.items()), flush=True)
    return [done[tuple(fit.values())] for fit in wanted]


def report(records, command):
    """Return the report in Markdown."""
    frame = pd.DataFrame(records)
    errors = frame.pivot_table(index="table", columns="configuration", values="error", sort=False)
    spread = frame.pivot_table(index="table", columns="configuration", values="error", aggfunc="std", sort=False)
    seconds = frame.groupby("configuration")["fit_s"]
    names = sorted(errors.columns, key=lambda name: errors.rank(axis=1)[name].mean())
    lines = ["# Untuned on small tables", "", f"`{command}`", "", __doc__.split("\n\n")[1].replace("\n", " "), ""]
    lines += [
        f"At most {frame['rows'].iloc[0]:,} rows for training and validation, at most {TEST_ROWS:,} test rows, "
        f"{frame['seed'].nunique()} seeds. Error: RMSE of regression, log loss of classification, mean over the seeds. Relative "
        "error: how much larger than the smallest error of the table, mean over the tables. One thread of a busy machine.",
        "",
        "| configuration | parameters | mean rank | relative error | best of all on | better than CatBoost on | median fit s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    relative = errors.div(errors.min(axis=1), axis=0) - 1
    for name in names:
        better = f"{(errors[name] < errors['catboost']).sum()} of {len(errors)}" if "catboost" in errors else "–"
        lines.append(
            f"| {name} | {_parameters(name)} | {errors.rank(axis=1)[name].mean():.2f} | {relative[name].mean():.1%} | "
            f"{(errors.idxmin(axis=1) == name).sum()} | {'–' if name == 'catboost' else better} | {seconds.median()[name]:.1f} |"
        )
    lines += ["", "| table | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for table in errors.index:
        cells = [_cell(errors.loc[table, name], spread, table, name, errors.loc[table].min()) for name in names]
        lines.append(f"| {table} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _parameters(name):
    if name == "catboost":
        return "2,000 trees, early stopping after 50"
    architecture, parameters = NETS[name]
    return f"{architecture}, " + (", ".join(f"{key}={value!r}" for key, value in parameters.items()) or "defaults")


def _cell(error, spread, table, name, smallest):
    deviation = spread.loc[table, name] if name in spread and table in spread.index else np.nan
    text = f"{error:.4g}" if np.isnan(deviation) else f"{error:.4g} ± {deviation:.2g}"
    return f"**{text}**" if error == smallest else text


def main(argv=None):
    """Run what is missing and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defaults", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where the development tables are")
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--configurations", nargs="+", default=CONFIGURATIONS, choices=CONFIGURATIONS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3000, help="training and validation rows")
    parser.add_argument("--results", type=Path, default=REPORT.with_suffix(".jsonl"))
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args(argv)
    if not (options.data / "datasets.json").exists():
        print(f"Nothing to do: no development tables (datasets.json and a parquet a table) in {options.data}.")
        return
    records = run(options.data, options.results, options.tables, options.configurations, options.seeds, options.rows)
    command = "python -m benchmarks.defaults " + " ".join(sys.argv[1:] if argv is None else argv)
    options.report.write_text(report(records, command.strip()))
    print(options.report)


if __name__ == "__main__":
    main()
