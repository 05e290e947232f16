# pyright: reportMissingImports=false
"""The networks as models of AutoGluon: ``hyperparameters={TabMModel: {}}``.

The module needs AutoGluon, in an environment of its own: see docs/guide/autogluon.md. The import of
``tabdl.kaggle`` does not load it.
"""

import copy
import itertools
import math
import time
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from autogluon.common.features.types import S_BOOL, S_TEXT_NGRAM
from autogluon.common.space import Categorical, Int, Real, Space
from autogluon.core.constants import BINARY, MULTICLASS, REGRESSION
from autogluon.core.metrics import Scorer, compute_metric
from autogluon.core.utils.exceptions import TimeLimitExceeded
from autogluon.tabular.models.abstract.abstract_torch_model import AbstractTorchModel

import tabdl
from tabdl.inspection import estimate_memory

# Metrics of AutoGluon with the order of tabdl's own validation loss.
_LOSSES = {BINARY: "log_loss", MULTICLASS: "log_loss", REGRESSION: "root_mean_squared_error"}
# What a process holds before a fit: 390 MB after the imports of AutoGluon, torch and tabdl.
_PROCESS = 512 * 2**20


class TabDLModel(AbstractTorchModel):
    """A network of tabdl inside AutoGluon; each subclass names one.

    Its hyperparameters are the parameters of the estimators, such as ``lr`` and ``n_blocks``. Not
    given, they have tabdl's defaults. AutoGluon gives the random state, the validation rows, the
    weights of rows, the seconds, the threads and the device.

    Attributes
    ----------
    network : str
        Name of the classifier and the regressor, without the task.
    search_space : dict of str to Space
        What a search draws from; its first try are the defaults of the estimators.
    """

    network: ClassVar[str]
    search_space: ClassVar[dict[str, Space]]

    ag_priority = 65
    seed_name = "random_state"
    _supported_problem_types: ClassVar = [BINARY, MULTICLASS, REGRESSION]
    default_resources_physical_cores_only = True
    default_num_gpus = 1

    @classmethod
    def estimator_class(cls, problem_type: str) -> type:
        """Return the classifier or the regressor.

        Parameters
        ----------
        problem_type : {"binary", "multiclass", "regression"}

        Raises
        ------
        ValueError
            For another problem, such as quantiles.
        """
        if problem_type not in cls._supported_problem_types:
            raise ValueError(
                f"{cls.__name__}: problem_type must be one of "
                f"{', '.join(cls._supported_problem_types)}, got {problem_type!r}. For quantiles, "
                f"fit {cls.network}Regressor(loss='quantile', quantile=q) for each."
            )
        return getattr(tabdl, cls.network + _task_of(problem_type))

    def _fit(
        self,
        X: pd.DataFrame,
        y: pd.Series,
        X_val: pd.DataFrame | None = None,
        y_val: pd.Series | None = None,
        time_limit: float | None = None,
        sample_weight: Any = None,
        sample_weight_val: Any = None,
        num_cpus: int = 1,
        num_gpus: float = 0,
        verbosity: int = 2,
        **kwargs: Any,
    ) -> None:
        """Train the network on the rows of AutoGluon; without validation rows it holds some out."""
        start = time.perf_counter()
        device = self._resolve_fit_device(num_gpus=num_gpus)
        X = self.preprocess(X, y=y)
        val = {}
        if X_val is not None:
            val = {"X_val": self.preprocess(X_val), "y_val": y_val}
            val["sample_weight_val"] = sample_weight_val
        # The most threads that the network takes; a small one gains nothing from more than one.
        torch.set_num_threads(num_cpus)
        given = {
            "device": device,
            "scoring": self._scoring(),
            "time_limit": _seconds_left(time_limit, start),
            "verbose": min(max(verbosity - 2, 0), 2),
        }
        model = self.estimator_class(self.problem_type)(**given | self._get_model_params())
        self.model = model.fit(X, y, sample_weight=sample_weight, **val)
        if model.n_val_rows_:
            self.params_trained.update(refit_params(model))

    def _preprocess(self, X: pd.DataFrame, **kwargs: Any) -> pd.DataFrame:
        """Give back as booleans what AutoGluon has made 0 and 1 of; they are categories then."""
        X = super()._preprocess(X, **kwargs)
        booleans = self._feature_metadata.get_features(required_special_types=[S_BOOL])
        return X.astype(dict.fromkeys(booleans, bool)) if booleans else X

    def _get_default_stopping_metric(self) -> str:
        """Stop by the validation loss, as tabdl does; ``ag.stopping_metric`` sets another."""
        return _LOSSES[self.problem_type]

    def _scoring(self) -> "StoppingScore | None":
        if self.stopping_metric.name == _LOSSES[self.problem_type]:
            return None
        return StoppingScore(self.stopping_metric, self.problem_type)

    def _get_default_searchspace(self) -> dict[str, Space]:
        defaults = self.estimator_class(self.problem_type)().get_params()
        return {
            name: _beginning_with(space, defaults[name])
            for name, space in self.search_space.items()
        }

    def get_device(self) -> str:
        """Return the kind of the device that the network lies on."""
        return next(self.model.module_.parameters()).device.type

    def _set_device(self, device: str) -> None:
        self.model.to(device)

    @classmethod
    def _estimate_memory_usage_static(
        cls,
        *,
        X: pd.DataFrame,
        hyperparameters: dict[str, Any] | None = None,
        num_classes: int | None = 1,
        problem_type: str = BINARY,
        X_val: pd.DataFrame | None = None,
        **kwargs: Any,
    ) -> int:
        """Return the peak of a process that fits, in bytes."""
        estimator = cls.estimator_class(problem_type)(**(hyperparameters or {}))
        categories = X.select_dtypes(exclude=["number", "bool"])
        n_values = [column.nunique() for _, column in categories.items()]
        network = estimate_memory(
            estimator,
            len(X) + (0 if X_val is None else len(X_val)),
            X.shape[1] - len(n_values),
            len(n_values),
            n_values=math.ceil(np.mean(n_values)) if n_values else 0,
            n_outputs=num_classes if num_classes and num_classes > 2 else 1,
        )
        # The rows of AutoGluon, and those that are prepared for the network.
        return _PROCESS + network + 2 * int(X.memory_usage().sum())

    @classmethod
    def _class_tags(cls) -> dict[str, bool]:
        return {"reset_torch_threads": True}

    def _more_tags(self) -> dict[str, bool]:
        return {"can_refit_full": True}


class StoppingScore:
    """A metric of AutoGluon as the ``scoring`` of an estimator.

    Parameters
    ----------
    metric : Scorer
    problem_type : {"binary", "multiclass", "regression"}
    """

    def __init__(self, metric: Scorer, problem_type: str) -> None:
        self.metric = metric
        self.problem_type = problem_type

    def __call__(self, estimator: Any, X: Any, y: np.ndarray) -> float:
        """Return the score, higher is better; weights of rows do not count."""
        score = partial(compute_metric, y=y, metric=self.metric)
        if self.problem_type == REGRESSION or self.metric.needs_pred:
            return score(y_pred=estimator.predict(X))
        probabilities = estimator.predict_proba(X)
        if self.problem_type == BINARY:
            probabilities = probabilities[:, 1]
        return score(y_pred_proba=probabilities)


def refit_params(model: Any) -> dict[str, Any]:
    """Return the parameters that train a network on all rows as long as a fitted one has trained.

    Parameters
    ----------
    model : fitted estimator
        It had validation rows.
    """
    needs_val = ("prune", "calibrate")
    return {
        "early_stopping": False,
        "max_epochs": epochs_learned(model),
        **{name: False for name in needs_val if getattr(model, name, False)},
    }


def epochs_learned(model: Any) -> int:
    """Return how many epochs the kept weights of the first network have learned.

    A cooldown goes on from the best weights, so the epochs between these and its beginning do not
    count. Where the clock led, evaluations may come more often than epochs end; its plan says how
    many epochs there were.
    """
    result = model.member_results_[0]
    plan = result.plan or {}
    if plan.get("turn") is not None:
        return max(1, min(result.best_epoch, math.floor(plan["n_epochs"])))
    history = result.history[: result.best_epoch]
    if model.lr_schedule != "cooldown":
        return len(history)
    is_falling = [now["lr"] < last["lr"] for last, now in itertools.pairwise(history)]
    n_falling = len(list(itertools.takewhile(bool, reversed(is_falling))))
    before = history[: len(history) - n_falling]
    best = max(before, key=lambda record: (record["val_score"], -record["val_loss"]))
    return best["epoch"] + n_falling


def _beginning_with(space, value):
    """Return a space whose first try is ``value``."""
    if isinstance(space, Categorical):
        return Categorical(value, *(other for other in space if other != value))
    space = copy.copy(space)
    space.default = value
    return space


def _task_of(problem_type):
    return "Regressor" if problem_type == REGRESSION else "Classifier"


def _seconds_left(time_limit, start):
    """Return what is left of a time limit; raise where nothing is."""
    if time_limit is None:
        return None
    left = time_limit - (time.perf_counter() - start)
    if left <= 0:
        raise TimeLimitExceeded
    return left


class TabMModel(TabDLModel):
    """TabM, 32 MLPs in one (2410.24210); the space is about that of its paper."""

    ag_key = "TABDL_TABM"
    ag_name = "TabDL-TabM"
    network = "TabM"
    search_space: ClassVar = {
        "lr": Real(1e-4, 1e-2, log=True),
        "weight_decay": Real(1e-5, 1e-1, log=True),
        "dropout": Real(0.0, 0.5),
        "n_blocks": Int(1, 4),
        "d_block": Int(64, 512),
    }


class FTTransformerModel(TabDLModel):
    """FT-Transformer, attention over columns (2106.11959); the space is around its defaults.

    It does not read the many counts of words that AutoGluon makes of texts: each would be a token.
    """

    ag_key = "TABDL_FTTRANSFORMER"
    ag_name = "TabDL-FTTransformer"
    network = "FTTransformer"
    _default_auxiliary_params_extra: ClassVar = {"ignored_type_group_special": [S_TEXT_NGRAM]}
    search_space: ClassVar = {
        "lr": Real(1e-4, 3e-3, log=True),
        "weight_decay": Real(1e-6, 1e-3, log=True),
        "attention_dropout": Real(0.0, 0.5),
        "ffn_dropout": Real(0.0, 0.5),
        "n_blocks": Int(1, 4),
        "d_block": Categorical(64, 96, 128, 192, 256),
    }


class RealMLPModel(TabDLModel):
    """RealMLP, a tuned MLP (2407.04491); the space is a part of that of its paper."""

    ag_key = "TABDL_REALMLP"
    ag_name = "TabDL-RealMLP"
    network = "RealMLP"
    search_space: ClassVar = {
        "lr": Real(0.02, 0.3, log=True),
        "weight_decay": Real(1e-3, 5e-2, log=True),
        "dropout": Real(0.0, 0.5),
        "activation": Categorical("selu", "mish", "relu"),
        "n_blocks": Int(2, 4),
        "d_block": Categorical(128, 256, 384, 512),
    }


class TabResNetModel(TabDLModel):
    """ResNet for tables (2106.11959); the space is about that of its paper."""

    ag_key = "TABDL_RESNET"
    ag_name = "TabDL-ResNet"
    network = "TabResNet"
    search_space: ClassVar = {
        "lr": Real(1e-5, 1e-2, log=True),
        "weight_decay": Real(1e-6, 1e-3, log=True),
        "hidden_dropout": Real(0.0, 0.5),
        "d_hidden_multiplier": Real(1.0, 4.0),
        "n_blocks": Int(1, 8),
        "d_block": Int(64, 512),
    }


class TabMLPModel(TabDLModel):
    """A plain MLP with embeddings of numbers (2106.11959); the space is about that of its paper."""

    ag_key = "TABDL_MLP"
    ag_name = "TabDL-MLP"
    network = "TabMLP"
    search_space: ClassVar = {
        "lr": Real(1e-5, 1e-2, log=True),
        "weight_decay": Real(1e-6, 1e-3, log=True),
        "dropout": Real(0.0, 0.5),
        "n_blocks": Int(1, 8),
        "d_block": Int(64, 512),
    }
