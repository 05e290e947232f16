"""Extremely randomised trees on tables as they are: quick, and unlike every other model."""

from functools import wraps
from typing import Any

import pandas as pd
from sklearn import ensemble
from sklearn.pipeline import make_pipeline

from tabdl.kaggle.trees import Categories, Clock

FOREST = "extra_trees"
_N_TREES = 300
_STRETCH = 20  # trees, after which the clock is looked at


class Codes(Categories):
    """Categories as numbers in the order of their text, missing and unseen ones as NaN."""

    def transform(self, X):
        """Return X as floats."""
        known = super().transform(X)
        codes = {
            name: known[name].cat.codes.astype(float).where(known[name].notna())
            for name in known.select_dtypes("category")
        }
        return known.assign(**codes).astype(float)


def extra_trees(X: pd.DataFrame, is_regression: bool, n_jobs: int, clock: Clock) -> Any:
    """Return a pipeline of 300 extremely randomised trees.

    Geurts, Ernst, Wehenkel: "Extremely randomized trees", Machine Learning 63, 2006.

    Parameters
    ----------
    X : DataFrame
        The table.
    is_regression : bool
    n_jobs : int
    clock : Clock
        Ends the training of this pipeline and of its clones.
    """
    cls = ensemble.ExtraTreesRegressor if is_regression else ensemble.ExtraTreesClassifier
    forest = _timed(cls, clock)(n_estimators=_N_TREES, n_jobs=n_jobs, warm_start=True)
    return make_pipeline(Codes(), forest)


def _timed(cls: Any, clock: Clock) -> Any:
    """Return a subclass that grows its trees in stretches, until the clock says so.

    The class holds the clock, so that clones of scikit-learn have it too.
    """

    @wraps(cls.fit)
    def fit(self, X, y, sample_weight=None):
        wanted = self.n_estimators
        try:
            for n_trees in [*range(_STRETCH, wanted, _STRETCH), wanted]:
                self.n_estimators = n_trees
                cls.fit(self, X, y, sample_weight)
                if n_trees < wanted and clock.is_over():
                    break
        finally:
            self.n_estimators = wanted
        return self

    return type(cls.__name__, (cls,), {"fit": fit})
