"""A competition from its files to a submission: ``python -m benchmarks.kaggle train.csv test.csv
--target y --metric auc``.

Trains three boosted trees, TabM, ResNet and FT-Transformer in 8 folds, blends them by greedy
selection on their out-of-fold predictions, and writes ``submission.csv``. Beside it, in a folder of
that name, stand ``oof_MODEL.csv`` and ``test_MODEL.csv`` of each model and of the blend, and
``report.html``: scores, weights, learning curves. A model whose files are there is not trained
again, so that a second start goes on where the first was stopped.
"""

import argparse
import hashlib
import json
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import tabdl
from benchmarks.boosted import boosted_trees
from benchmarks.kaggle_report import write_report


@dataclass(frozen=True)
class Metric:
    """A competition's metric.

    Attributes
    ----------
    scoring : str or callable
        A scikit-learn scorer or its name; higher is better.
    answer : {"probability", "label", "value"}
        What a submission holds.
    is_log : bool
        Whether models learn the logarithm of 1 + target.
    """

    scoring: object
    answer: str
    is_log: bool = False


def _kappa(estimator, X, y):
    from sklearn.metrics import cohen_kappa_score

    return cohen_kappa_score(y, estimator.predict(X), weights="quadratic")


METRICS = {
    "logloss": Metric("neg_log_loss", "probability"),
    "auc": Metric("roc_auc_ovr", "probability"),
    "accuracy": Metric("accuracy", "label"),
    "f1": Metric("f1_macro", "label"),
    "qwk": Metric(_kappa, "label"),
    "rmse": Metric("neg_root_mean_squared_error", "value"),
    "rmsle": Metric("neg_root_mean_squared_error", "value", is_log=True),
    "mae": Metric("neg_mean_absolute_error", "value"),
    "r2": Metric("r2", "value"),
}
NETWORKS = {"tabm": "TabM", "resnet": "TabResNet", "ft_transformer": "FTTransformer"}


def arguments(argv=None):
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kaggle", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("train", type=_file, help="a CSV or Parquet file with the target")
    add("test", type=_file, help="the rows to predict")
    add("--target", required=True, metavar="COLUMN")
    add("--metric", required=True, choices=list(METRICS))
    add("--id", metavar="COLUMN", help="the column that names rows (default: found by its values)")
    add(
        "--out",
        type=Path,
        default=Path("submission.csv"),
        help="the submission (default submission.csv)",
    )
    add(
        "--time-limit",
        type=float,
        default=30,
        metavar="MIN",
        help="minutes for the training of all models (default 30)",
    )
    add(
        "--models",
        nargs="+",
        metavar="NAME",
        help="some of catboost, xgboost, lightgbm, tabm, resnet, ft_transformer",
    )
    add("--folds", type=int, default=8)
    add("--seed", type=int, default=0)
    add("--device", default="auto")
    add("--n-jobs", type=int, help="threads (default: as many as there are)")
    return parser.parse_args(argv)


def _file(text):
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no file")
    return Path(text)


# --- reading


@dataclass(frozen=True)
class Competition:
    """The tables of a competition.

    Attributes
    ----------
    X, X_test : DataFrame
        Without the columns of ids and constants; dates as numbers.
    y : ndarray of shape (N,)
    id_name : str or None
    ids, test_ids : Series
        What names the rows.
    """

    X: pd.DataFrame
    X_test: pd.DataFrame
    y: np.ndarray
    id_name: str | None
    ids: pd.Series
    test_ids: pd.Series


def read(options):
    """Return the :class:`Competition` of the command line's files; exits with a message where they
    cannot be used."""
    train, test = (
        pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        for path in (options.train, options.test)
    )
    if options.target not in train:
        sys.exit(
            f"{options.train} has no column {options.target!r}; it has "
            f"{', '.join(train.columns[:20])}."
        )
    missing = train[options.target].isna()
    if missing.any():
        print(f"{missing.sum()} training rows have no target and are left out.")
        train = train[~missing].reset_index(drop=True)
    features = [name for name in train.columns if name != options.target]
    if absent := [name for name in features if name not in test]:
        sys.exit(f"{options.test} lacks the column(s) {', '.join(absent)} of {options.train}.")
    id_name = options.id or find_id(train[features], test)
    if id_name is not None and id_name not in features:
        sys.exit(f"--id: {options.train} has no column {id_name!r}.")
    features = [
        name for name in features if name != id_name and train[name].nunique(dropna=False) > 1
    ]
    X, X_test = with_dates(train[features], test[features])
    y = train[options.target].to_numpy()
    if METRICS[options.metric].answer == "value" and y.dtype.kind not in "iuf":
        sys.exit(
            f"--metric {options.metric} needs numbers; the target {options.target!r} holds "
            f"{train[options.target].dtype}."
        )
    ids, test_ids = (
        table[id_name] if id_name else pd.Series(np.arange(len(table)), name="row")
        for table in (train, test)
    )
    return Competition(X, X_test, y, id_name, ids, test_ids)


def find_id(train, test):
    """Return the column whose values differ in all rows of both tables and are integers or text,
    the first with "id" in its name.

    None where there is none: a number that happens to differ everywhere is a feature unless it is
    named so.
    """
    unique = []
    for name in train.columns:
        values = pd.concat([train[name], test[name]])
        if values.dtype.kind != "f" and values.notna().all() and values.is_unique:
            unique.append(name)
    named = [name for name in unique if "id" in str(name).lower()]
    texts = [name for name in unique if not pd.api.types.is_numeric_dtype(train[name])]
    return next(iter(named + texts), None)


def with_dates(X, X_test):
    """Return both tables with columns of ISO dates as days since 1970, year, month and day of the
    week."""
    for name in X.select_dtypes(exclude="number").columns:
        present = X[name].dropna().astype(str)
        if not len(present) or not present.head(1000).str.match(r"\d{4}-\d{2}-\d{2}").all():
            continue
        tables = []
        for table in (X, X_test):
            moments = pd.to_datetime(table[name], errors="coerce", utc=True)
            days = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta("1D")
            parts = {
                "days": days,
                "year": moments.dt.year,
                "month": moments.dt.month,
                "day_of_week": moments.dt.day_of_week,
            }
            tables.append(
                table.drop(columns=name).assign(
                    **{f"{name}.{part}": v.astype(float) for part, v in parts.items()}
                )
            )
        X, X_test = tables
    return X, X_test


# --- training


def estimators(competition, is_regression, options):
    """Return the models by name, those first that need less time."""
    models = boosted_trees(competition.X, is_regression, options.n_jobs or -1)
    task = "Regressor" if is_regression else "Classifier"
    models |= {
        name: getattr(tabdl, cls + task)(device=options.device, n_jobs=options.n_jobs)
        for name, cls in NETWORKS.items()
    }
    if options.models and (unknown := set(options.models) - set(models)):
        sys.exit(
            f"--models: {', '.join(sorted(unknown))} is unknown; there are {', '.join(models)}."
        )
    return {
        name: model
        for name, model in models.items()
        if not options.models or name in options.models
    }


def train_all(competition, metric, options, folder):
    """Train the models that have no files in ``folder`` yet, and write theirs.

    Networks get equal shares of the time that is left; trees take what they need. What finds no
    time left is left out.
    """
    is_regression = metric.answer == "value"
    models = estimators(competition, is_regression, options)
    todo = [name for name in models if not (folder / name / "report.json").exists()]
    deadline = time.monotonic() + 60 * options.time_limit
    for i, name in enumerate(todo):
        left = deadline - time.monotonic()
        if left <= 0:
            print(f"The time is over: {', '.join(todo[i:])} left out.")
            break
        if name in NETWORKS:
            models[name].set_params(time_limit=left / (len(todo) - i) / options.folds)
        train_one(name, models[name], competition, metric, options, folder / name)


def train_one(name, model, competition, metric, options, folder):
    """Train a model in folds and write its out-of-fold and test predictions, scores and
    histories."""
    is_regression = metric.answer == "value"
    kind = tabdl.CrossValEnsembleRegressor if is_regression else tabdl.CrossValEnsembleClassifier
    y = np.log1p(competition.y) if metric.is_log else competition.y
    start = time.perf_counter()
    ensemble = kind(
        model, cv=options.folds, scoring=metric.scoring, random_state=options.seed, verbose=1
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ensemble.fit(competition.X, y)
    if interrupted := [str(w.message) for w in caught if "interrupted" in str(w.message)]:
        raise KeyboardInterrupt(interrupted[0])
    predict = ensemble.predict if is_regression else ensemble.predict_proba
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "oof.npy", ensemble.oof_prediction_)
    np.save(folder / "test.npy", predict(competition.X_test))
    report = {
        "name": name,
        "score": ensemble.oof_score_,
        "scores": ensemble.scores_,
        "seconds": time.perf_counter() - start,
        "curves": [curve(history) for history in ensemble.histories_],
    }
    (folder / "report.json").write_text(json.dumps(report))
    print(
        f"{name}: out-of-fold score {ensemble.oof_score_:.5f}, {report['seconds']:.0f} s",
        flush=True,
    )


def curve(history):
    """Return the validation loss of each epoch or tree, of any library's record; empty where it has
    none."""
    if not history:
        return []
    if isinstance(history, list):
        return [
            record["val_loss"]
            for record in history
            if record.get("member", 0) == 0 and record["val_loss"] is not None
        ]
    metrics = list(history.values())[-1]  # of the last set of rows: those to stop by
    return [float(value) for value in next(iter(metrics.values()))]


# --- submission


def blend(competition, metric, options, folder):
    """Choose weights, write the submission, the prediction files and the report, and return the
    blend's score."""
    reports = [json.loads(path.read_text()) for path in sorted(folder.glob("*/report.json"))]
    if not reports:
        sys.exit("No model was trained within the time limit; give more minutes.")
    names = [report["name"] for report in reports]
    oof, test = (
        {name: np.load(folder / name / f"{part}.npy") for name in names} for part in ("oof", "test")
    )
    is_regression = metric.answer == "value"
    kind = tabdl.GreedyEnsembleRegressor if is_regression else tabdl.GreedyEnsembleClassifier
    y = np.log1p(competition.y) if metric.is_log else competition.y
    ensemble = kind([], scoring=metric.scoring).fit(competition.X, y, oof_predictions=oof)
    predict = ensemble.predict if is_regression else ensemble.predict_proba
    oof["blend"], test["blend"] = (
        ensemble.oof_prediction_,
        predict(competition.X_test, predictions=test),
    )
    classes = None if is_regression else ensemble.classes_
    for part, ids, predictions in (
        ("oof", competition.ids, oof),
        ("test", competition.test_ids, test),
    ):
        for name, prediction in predictions.items():
            table = answers(
                prediction,
                "value" if is_regression else "probability",
                classes,
                options.target,
                metric.is_log,
            )
            pd.concat([ids.reset_index(drop=True), table], axis=1).to_csv(
                folder / f"{part}_{name}.csv", index=False
            )
    submission = answers(test["blend"], metric.answer, classes, options.target, metric.is_log)
    pd.concat([competition.test_ids.reset_index(drop=True), submission], axis=1).to_csv(
        options.out, index=False
    )
    score = max(ensemble.score_path_)
    facts = {
        "train": len(competition.X),
        "test": len(competition.X_test),
        "columns": competition.X.shape[1],
    }
    write_report(
        folder / "report.html", options, facts, reports, ensemble.weights_, ensemble.score_path_
    )
    return score


def answers(prediction, answer, classes, target, is_log):
    """Return a prediction as the columns of a submission."""
    if answer == "value":
        return pd.DataFrame({target: np.expm1(prediction) if is_log else prediction})
    if answer == "label":
        return pd.DataFrame({target: classes[prediction.argmax(1)]})
    if len(classes) == 2:
        return pd.DataFrame({target: prediction[:, 1]})
    return pd.DataFrame(prediction, columns=[f"{target}_{label}" for label in classes])


def settings_of(options):
    """Return what must be the same for a run to go on."""
    digest = {
        part: hashlib.sha256(getattr(options, part).read_bytes()).hexdigest()
        for part in ("train", "test")
    }
    return digest | {
        name: getattr(options, name) for name in ("target", "metric", "id", "folds", "seed")
    }


def main(argv=None):
    """Go from the files to the submission."""
    options = arguments(argv)
    metric = METRICS[options.metric]
    folder = options.out.with_suffix("")
    stored, settings = folder / "settings.json", settings_of(options)
    if stored.exists() and json.loads(stored.read_text()) != settings:
        sys.exit(
            f"{folder} holds a run of other files or settings; delete it, or give --out "
            f"another name."
        )
    competition = read(options)
    folder.mkdir(parents=True, exist_ok=True)
    stored.write_text(json.dumps(settings))
    print(
        f"{len(competition.X):,} rows to train on, {len(competition.X_test):,} to predict, "
        f"{competition.X.shape[1]} columns, id: {competition.id_name or 'none'}",
        flush=True,
    )
    try:
        train_all(competition, metric, options, folder)
    except KeyboardInterrupt:
        print(
            "Interrupted; the blend is of the models that are done, and the same command "
            "goes on with the others."
        )
    score = blend(competition, metric, options, folder)
    print(
        f"blend: out-of-fold score {score:.5f}; {options.out} and {folder / 'report.html'} "
        f"are written."
    )


if __name__ == "__main__":
    main()
