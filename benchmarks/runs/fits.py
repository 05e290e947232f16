"""What every model of the comparison gives back, and what watches it while it trains."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Fit:
    """A fitted model.

    Attributes
    ----------
    predict : callable
        From X to predictions, (N,): values, or classes.
    n_parameters : int
        Trained weights of a net; leaves of boosted trees; 0 where nobody knows.
    n_iter, best_iter : int
        Epochs, or trees: trained, and kept.
    hit_time_limit : bool
        Whether the time limit ended the fit.
    predict_proba : callable or None
        From X to probabilities, (N, C), in the order of ``classes``; None for regression.
    classes : ndarray or None
    device : str
        Where it was trained.
    history : list of dict
        A record an epoch or tree: ``val_score`` (higher is better) and what else the model tells.
    members : dict of Fit
        Of an ensemble, by name; they only predict.
    """

    predict: Callable[[pd.DataFrame], np.ndarray]
    n_parameters: int = 0
    n_iter: int = 1
    best_iter: int = 1
    hit_time_limit: bool = False
    predict_proba: Callable[[pd.DataFrame], np.ndarray] | None = None
    classes: np.ndarray | None = None
    device: str = "cpu"
    history: list[dict] = field(default_factory=list)
    members: dict[str, "Fit"] = field(default_factory=dict)


def predictor(model, is_regression):
    """Return what a :class:`Fit` predicts with, of a fitted estimator of scikit-learn's
    interface."""
    if is_regression:
        return {"predict": model.predict}
    classes = np.asarray(model.classes_)
    return {"predict": model.predict, "predict_proba": model.predict_proba, "classes": classes}


@dataclass
class Watch:
    """Called by a model after each epoch or tree with its number and validation score; True asks it
    to stop.

    Attributes
    ----------
    time_limit : float or None
        Seconds from now on.
    should_prune : callable or None
        From number and score to whether to give up; the pruning of a search.
    hit_time_limit : bool
        Whether it asked to stop because of that.
    history : list of dict
        What it was told: numbers, from 0 on, and scores.
    """

    time_limit: float | None = None
    should_prune: Callable[[int, float], bool] | None = None
    hit_time_limit: bool = False
    history: list[dict] = field(default_factory=list)
    _start: float = field(default_factory=time.monotonic)

    def __call__(self, number, score):
        self.history.append({"epoch": number + 1, "val_score": float(score)})
        self.hit_time_limit = (
            self.time_limit is not None and time.monotonic() - self._start > self.time_limit
        )
        if self.hit_time_limit or self.should_prune is None:
            return self.hit_time_limit
        return self.should_prune(number, score)
