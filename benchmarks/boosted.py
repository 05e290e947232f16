"""Boosted trees on tables as they are: categories as each library takes them, early stopping in its own words."""

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline

N_TREES, PATIENCE = 2000, 50


class Texts(TransformerMixin, BaseEstimator):
    """Columns that are no numbers as text, with the word "missing" where there is none; for CatBoost."""

    def fit(self, X, y=None):
        """Find the columns that are no numbers."""
        self.names_ = X.select_dtypes(exclude="number").columns.tolist()
        return self

    def transform(self, X):
        """Return X with these columns as text."""
        return X.assign(**{name: X[name].astype(object).where(X[name].notna(), "missing").astype(str) for name in self.names_})


class Categories(Texts):
    """Such text as pandas categories, those of the rows of ``fit``; for XGBoost and LightGBM."""

    def fit(self, X, y=None):
        """Learn the categories of each column."""
        super().fit(X)
        texts = super().transform(X)
        self.dtypes_ = {name: texts[name].astype("category").dtype for name in self.names_}
        return self

    def transform(self, X):
        """Return X with these categories; others are missing."""
        texts = super().transform(X)
        known = {name: texts[name].where(texts[name].isin(dtype.categories)) for name, dtype in self.dtypes_.items()}
        return X.assign(**{name: values.astype(self.dtypes_[name]) for name, values in known.items()})


def boosted_trees(is_regression, text_columns, n_jobs):
    """Return CatBoost, XGBoost and LightGBM by name, as pipelines; 2,000 trees at most, stopped after 50 without a better score.

    Parameters
    ----------
    is_regression : bool
    text_columns : list of str
        The columns that are categories.
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
                cat_features=text_columns,
                thread_count=n_jobs,
                allow_writing_files=False,
                logging_level="Silent",
            ),
        ),
        "xgboost": make_pipeline(
            Categories(),
            of(xgboost, "XGB")(
                n_estimators=N_TREES, early_stopping_rounds=PATIENCE, enable_categorical=True, tree_method="hist", n_jobs=n_jobs
            ),
        ),
        "lightgbm": make_pipeline(
            Categories(),
            of(lightgbm, "LGBM")(n_estimators=N_TREES, early_stopping_round=PATIENCE, verbose=-1, n_jobs=n_jobs),
        ),
    }
