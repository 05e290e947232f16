"""A short search of parameters, by the score of one fold.

The spaces are small: what matters most of each model, around its defaults.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.files import write_text
from tabdl.kaggle.models import ModelSpec
from tabdl.kaggle.training import Setting, train_fold

_MOST_TRIALS = 50


def _trees(trial):
    return {"learning_rate": trial.suggest_float("learning_rate", 0.01, 0.2, log=True)}


def _catboost(trial):
    return {**_trees(trial), "depth": trial.suggest_int("depth", 4, 9)} | {
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 1.0, 20.0, log=True)
    }


def _xgboost(trial):
    return {
        **_trees(trial),
        "max_depth": trial.suggest_int("max_depth", 3, 10),
        "min_child_weight": trial.suggest_float("min_child_weight", 1.0, 100.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.6, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
    }


def _lightgbm(trial):
    return {
        **_trees(trial),
        "num_leaves": trial.suggest_int("num_leaves", 8, 128, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 5, 100, log=True),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
    }


def _forest(trial):
    return {
        "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 20, log=True),
        "max_features": trial.suggest_float("max_features", 0.2, 1.0),
    }


def _network(trial, low, high, dropout):
    return {
        "lr": trial.suggest_float("lr", low, high, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        dropout: trial.suggest_float(dropout, 0.0, 0.4),
    }


SPACES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "catboost": _catboost,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "extra_trees": _forest,
    "tabm": lambda trial: _network(trial, 5e-4, 5e-3, "dropout"),
    "mlp": lambda trial: _network(trial, 3e-5, 3e-3, "dropout"),
    "realmlp": lambda trial: _network(trial, 0.02, 0.3, "dropout"),
    "resnet": lambda trial: _network(trial, 3e-5, 3e-3, "hidden_dropout"),
    "gmlp": lambda trial: _network(trial, 3e-5, 3e-3, "residual_dropout"),
    "ft_transformer": lambda trial: _network(trial, 1e-4, 3e-3, "attention_dropout"),
}
"""From an Optuna trial to the parameters of a model, by name."""


def tune_models(
    specs: Sequence[ModelSpec], setting: Setting, folder: Path, seconds: float
) -> list[ModelSpec]:
    """Return the models with the parameters that score best on the first fold.

    What was found is kept in ``tuned.json``, and is not searched again. Models with parameters of
    the user, and estimators of the user, stay as they are.

    Parameters
    ----------
    specs : list of ModelSpec
    setting : Setting
    folder : Path
    seconds : float
        For all models; each gets an equal share of what is left.

    Raises
    ------
    CompetitionError
        Without the package optuna, or when the file cannot be written.
    """
    path = folder / "tuned.json"
    known = _read(path)
    chosen = [spec for spec in specs if spec.base and not spec.parameters]
    end = time.monotonic() + seconds
    todo = [spec for spec in chosen if spec.name not in known]
    for i, spec in enumerate(todo):
        share = (end - time.monotonic()) / (len(todo) - i)
        if share <= 0:
            print(f"No time to tune {', '.join(s.name for s in todo[i:])}.", flush=True)
            break
        known[spec.name] = _tune(spec, setting, share)
        write_text(path, json.dumps(known, indent=1) + "\n")
    return [
        replace(spec, parameters=known[spec.name])
        if spec in chosen and spec.name in known
        else spec
        for spec in specs
    ]


def _read(path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(value, dict) for value in found.values()):
            raise ValueError("it must hold the parameters of each model")
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, OSError) as error:
        print(f"{path} is damaged and counts as absent ({error}).", flush=True)
        return {}
    return found


def _tune(spec, setting, seconds) -> dict[str, Any]:
    """Return the best parameters that were found; empty where the defaults are best."""
    try:
        import optuna
    except ImportError as error:
        raise CompetitionError("--tune needs the package optuna: pip install optuna.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=setting.seed)
    )
    start, scores = time.monotonic(), []

    def objective(trial):
        parameters = SPACES[spec.base](trial) if scores else {}
        left = seconds - (time.monotonic() - start)
        tried = replace(spec, parameters=parameters, n_seeds=1)
        fold = train_fold(tried, 0, setting, max(left, 0.1), with_importances=False)
        scores.append(fold.score)
        trial.set_user_attr("parameters", parameters)
        return fold.score

    study.optimize(objective, n_trials=_MOST_TRIALS, timeout=seconds, catch=(Exception,))
    if not scores:
        return {}  # the training of the model will say why
    best = study.best_trial.user_attrs["parameters"]
    print(
        f"{spec.name}: {len(scores)} trials, score of the first fold {scores[0]:.5f} by default, "
        f"{max(scores):.5f} with {best or 'the same'}.",
        flush=True,
    )
    return best
