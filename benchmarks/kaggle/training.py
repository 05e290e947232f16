"""The training of a competition's models, each in folds."""

import argparse
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tabdl
from benchmarks.boosted import TREES, boosted_trees
from benchmarks.errors import HarnessError
from benchmarks.kaggle.competition import Competition
from benchmarks.kaggle.metrics import METRICS
from benchmarks.kaggle.options import MODELS, NETWORKS
from benchmarks.kaggle.trained import Trained, read_trained


def estimators(
    names: list[str], competition: Competition, options: argparse.Namespace
) -> dict[str, Any]:
    """Return the models by name."""
    is_regression = METRICS[options.metric].is_regression
    trees = [name for name in TREES if name in names]
    models = boosted_trees(competition.X, is_regression, options.n_jobs or -1, trees)
    task = "Regressor" if is_regression else "Classifier"
    networks = {
        name: getattr(tabdl, cls + task)(device=options.device, n_jobs=options.n_jobs)
        for name, cls in NETWORKS.items()
        if name in names
    }
    return models | networks


def stored_models(
    competition: Competition, settings: Mapping, options: argparse.Namespace, folder: Path
) -> dict[str, Trained]:
    """Return the models whose files are whole, by name."""
    n_rows = {"oof": len(competition.X), "test": len(competition.X_test)}
    is_regression = METRICS[options.metric].is_regression
    n_classes = None if is_regression else len(np.unique(competition.y))
    found = {name: read_trained(folder / name, settings, n_rows, n_classes) for name in MODELS}
    return {name: trained for name, trained in found.items() if trained is not None}


def train_all(
    names: list[str],
    competition: Competition,
    settings: Mapping,
    options: argparse.Namespace,
    folder: Path,
) -> None:
    """Train the models that have no files in ``folder`` yet, and write theirs.

    Networks get equal shares of the time that is left; trees take what they need. What finds no
    time left, and what fails, is left out. Ctrl-C ends the training of all.
    """
    stored = stored_models(competition, settings, options, folder)
    done = [name for name, trained in stored.items() if trained.n_folds >= options.folds]
    todo = [name for name in names if name not in done]
    models = estimators(todo, competition, options)
    deadline = time.monotonic() + 60 * options.time_limit
    for i, name in enumerate(todo):
        left = deadline - time.monotonic()
        if left <= 0:
            print(f"The time is over: {', '.join(todo[i:])} left out.", flush=True)
            return
        if name in NETWORKS:
            models[name].set_params(time_limit=left / (len(todo) - i) / options.folds)
        try:
            trained = train_one(name, models[name], competition, options)
            trained.write(folder / name, settings)
        except KeyboardInterrupt:
            trained = None
        except HarnessError:
            raise
        except Exception as error:
            _say_failed(name, error)
            continue
        if trained is None or trained.n_folds < options.folds:
            print(
                "Interrupted; the blend is of the models that are done, and the same command goes "
                "on with the others.",
                flush=True,
            )
            return


def _say_failed(name, error):
    lines = str(error).strip().splitlines() or [""]
    print(
        f"{name} failed and is left out: {type(error).__name__}: {lines[0][:300]}",
        file=sys.stderr,
        flush=True,
    )


def train_one(
    name: str, model: Any, competition: Competition, options: argparse.Namespace
) -> Trained:
    """Return a model that was trained in folds, with its predictions, scores and histories.

    Raises
    ------
    KeyboardInterrupt
        When no fold was trained before Ctrl-C.
    ValueError
        When a prediction of a test row is missing or infinite.
    Exception
        What the model raises.
    """
    metric = METRICS[options.metric]
    is_regression = metric.is_regression
    kind: Any = tabdl.CrossValEnsembleClassifier
    if is_regression:
        kind = tabdl.CrossValEnsembleRegressor
    start = time.perf_counter()
    ensemble = kind(
        model, cv=options.folds, scoring=metric.scoring, random_state=options.seed, verbose=1
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ensemble.fit(competition.X, metric.encode(competition.y))
        predict = ensemble.predict if is_regression else ensemble.predict_proba
        test = predict(competition.X_test)
    for text in list(dict.fromkeys(str(warning.message) for warning in caught))[:5]:
        print(f"{name}: {text.splitlines()[0][:300]}", flush=True)
    if test.shape[0] != len(competition.X_test) or not np.isfinite(test).all():
        raise ValueError("predictions of test rows are missing or infinite")
    seconds = time.perf_counter() - start
    print(f"{name}: out-of-fold score {ensemble.oof_score_:.5f}, {seconds:.0f} s", flush=True)
    return Trained(
        name,
        ensemble.oof_prediction_,
        test,
        n_folds=len(ensemble.estimators_),
        score=ensemble.oof_score_,
        scores=[float(score) for score in ensemble.scores_],
        seconds=seconds,
        curves=[curve(history) for history in ensemble.histories_],
    )


def curve(history: Any) -> list[float]:
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
