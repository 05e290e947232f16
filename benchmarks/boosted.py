"""Boosted trees on tables as they are: categories as each library takes them, early stopping in its
own words."""

import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline

N_TREES, PATIENCE = 2000, 50
_MOMENTS = ["datetime", "datetimetz", "timedelta"]


def names_of_categories(X):
    """Return the names of the columns that are no numbers, dates or durations."""
    return X.select_dtypes(exclude=["number", *_MOMENTS]).columns.tolist()


class Texts(TransformerMixin, BaseEstimator):
    """Categories as text, with the word "missing" where there is none, dates and durations as days;
    for CatBoost."""

    def fit(self, X, y=None):
        """Find the columns that are categories."""
        self.names_ = names_of_categories(X)
        return self

    def transform(self, X):
        """Return X with these columns as text."""
        texts = {
            name: X[name].astype(object).where(X[name].notna(), "missing").astype(str)
            for name in self.names_
        }
        return dates_as_days(X).assign(**texts)


class Categories(Texts):
    """Categories as pandas has them, those of the rows of ``fit``, dates and durations as days; for
    XGBoost and LightGBM."""

    def fit(self, X, y=None):
        """Learn the categories of each column."""
        super().fit(X)
        seen = {name: sorted(X[name].dropna().astype(str).unique()) for name in self.names_}
        # XGBoost takes no column without categories.
        self.dtypes_ = {
            name: pd.CategoricalDtype(values or ["missing"]) for name, values in seen.items()
        }
        return self

    def transform(self, X):
        """Return X with these categories; others are missing."""
        texts = super().transform(X)
        known = {}
        for name, dtype in self.dtypes_.items():
            is_known = X[name].notna() & texts[name].isin(dtype.categories)
            known[name] = texts[name].where(is_known).astype(dtype)
        return texts.assign(**known)


def dates_as_days(X):
    """Return X with dates (since 1970) and durations as days, float; missing ones as NaN."""

    def days(column):
        start = pd.Timedelta(0) if column.dtype.kind == "m" else pd.Timestamp(0, tz=column.dt.tz)
        return (column - start) / pd.Timedelta(days=1)

    return X.assign(**{name: days(X[name]) for name in X.select_dtypes(_MOMENTS).columns})


def boosted_trees(X, is_regression, n_jobs):
    """Return CatBoost, XGBoost and LightGBM by name, as pipelines; 2,000 trees at most, stopped
    after 50 without a better score.

    Parameters
    ----------
    X : DataFrame
        The table, for the names of its categories.
    is_regression : bool
    n_jobs : int
    """
    import catboost
    import lightgbm
    import xgboost

    def of(library, name):
        return getattr(library, name + ("Regressor" if is_regression else "Classifier"))

    return {
        "catboost": make_pipeline(
            Texts(),
            of(catboost, "CatBoost")(
                iterations=N_TREES,
                early_stopping_rounds=PATIENCE,
                cat_features=names_of_categories(X),
                thread_count=n_jobs,
                allow_writing_files=False,
                logging_level="Silent",
            ),
        ),
        "xgboost": make_pipeline(
            Categories(),
            of(xgboost, "XGB")(
                n_estimators=N_TREES,
                early_stopping_rounds=PATIENCE,
                enable_categorical=True,
                tree_method="hist",
                n_jobs=n_jobs,
            ),
        ),
        "lightgbm": make_pipeline(
            Categories(),
            of(lightgbm, "LGBM")(
                n_estimators=N_TREES, early_stopping_round=PATIENCE, verbose=-1, n_jobs=n_jobs
            ),
        ),
    }
