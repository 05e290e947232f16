"""The blend of a competition's models, the submission and the files beside it."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import tabdl
from benchmarks.errors import HarnessError
from benchmarks.kaggle.competition import Competition
from benchmarks.kaggle.files import write_file
from benchmarks.kaggle.metrics import METRICS
from benchmarks.kaggle.report import report_page
from benchmarks.kaggle.trained import Trained
from benchmarks.kaggle.training import stored_models


def finish(
    competition: Competition, settings: Mapping, options: argparse.Namespace, folder: Path
) -> float:
    """Blend the models, write the submission, the prediction files and the report.

    Returns
    -------
    float
        The score of the blend's out-of-fold predictions; higher is better.

    Raises
    ------
    HarnessError
        When no model was trained, or a file cannot be written as it must be.
    """
    models = _usable(stored_models(competition, settings, options, folder), options.folds)
    if not models:
        raise HarnessError(
            "No model was trained: all failed, or the time limit was over. There is no submission."
        )
    try:
        blend, test = _blend(models, competition, options)
    except (ValueError, ArithmeticError) as error:
        raise HarnessError(
            f"The blend failed: {error} The predictions of each model are kept in {folder}."
        ) from error
    classes = None if METRICS[options.metric].is_regression else blend.classes_
    oof = {name: model.oof for name, model in models.items()} | {"blend": blend.oof_prediction_}
    tests = {name: model.test for name, model in models.items()} | {"blend": test}
    write_submission(
        options.out,
        competition.test_ids,
        answers(test, METRICS[options.metric].answer, classes, options),
    )
    for part, ids, predictions in (
        ("oof", competition.ids, oof),
        ("test", competition.test_ids, tests),
    ):
        for name, prediction in predictions.items():
            kind = "value" if classes is None else "probability"
            table = answers(prediction, kind, classes, options)
            _write_table(folder / f"{part}_{name}.csv", ids, table)
    _write_report(folder, competition, options, list(models.values()), blend)
    return max(blend.score_path_)


def _usable(models, n_folds):
    """Return the models of all folds; where there is none, those that Ctrl-C cut."""
    whole = {name: model for name, model in models.items() if model.n_folds >= n_folds}
    return whole or models


def _blend(models: dict[str, Trained], competition, options) -> tuple[Any, np.ndarray]:
    metric = METRICS[options.metric]
    is_regression = metric.is_regression
    kind: Any = tabdl.GreedyEnsembleRegressor if is_regression else tabdl.GreedyEnsembleClassifier
    oof = {name: model.oof for name, model in models.items()}
    blend = kind([], scoring=metric.scoring)
    blend.fit(competition.X, metric.encode(competition.y), oof_predictions=oof)
    predict = blend.predict if is_regression else blend.predict_proba
    tests = {name: model.test for name, model in models.items()}
    return blend, predict(competition.X_test, predictions=tests)


def answers(
    prediction: np.ndarray,
    answer: str,
    classes: np.ndarray | None,
    options: argparse.Namespace,
) -> pd.DataFrame:
    """Return a prediction as the columns of a submission.

    Parameters
    ----------
    prediction : ndarray of shape (N,) or (N, C)
    answer : {"probability", "label", "value"}
    classes : ndarray of shape (C,) or None
    options : Namespace
        Of the command line: the target and the metric.
    """
    target = options.target
    if classes is None:
        return pd.DataFrame({target: METRICS[options.metric].decode(prediction)})
    if answer == "label":
        return pd.DataFrame({target: classes[prediction.argmax(1)]})
    if len(classes) == 2:
        return pd.DataFrame({target: prediction[:, 1]})
    return pd.DataFrame(prediction, columns=[f"{target}_{label}" for label in classes])


def write_submission(path: Path, ids: pd.Series, table: pd.DataFrame) -> None:
    """Write a submission, and check it as it is on the disk before it takes its place.

    Parameters
    ----------
    path : Path
    ids : Series of shape (N,), text
        Of the test file's rows.
    table : DataFrame of N rows

    Raises
    ------
    HarnessError
        When a row, an id or a value is missing, or the rows are in another order.
    """

    def check(new):
        written = pd.read_csv(new, dtype=str, keep_default_na=False)
        if len(written) != len(ids):
            problem = f"{len(written)} rows for {len(ids)} rows to predict"
        elif written.iloc[:, 0].tolist() != ids.tolist():
            problem = "ids that are not those of the test file, in its order"
        elif (written == "").any(axis=None) or not _is_finite(table):
            problem = "cells that are empty or no finite number"
        else:
            return
        raise HarnessError(f"{path} is not written: it would have {problem}.")

    _write_table(path, ids, table, check)


def _is_finite(table):
    return np.isfinite(table.select_dtypes("number").to_numpy(np.float64)).all()


def _write_table(path, ids, table, check=None):
    rows = pd.concat([ids.reset_index(drop=True), table.reset_index(drop=True)], axis=1)
    write_file(path, lambda new: rows.to_csv(new, index=False), check)


def _write_report(folder, competition, options, models, blend):
    facts = {
        "train": len(competition.X),
        "test": len(competition.X_test),
        "columns": competition.X.shape[1],
    }
    try:
        page = report_page(options, facts, models, blend.weights_, blend.score_path_)
    except ImportError as error:
        print(f"report.html is not written: {error}", flush=True)
        return
    write_file(folder / "report.html", lambda path: path.write_text(page, encoding="utf-8"))
