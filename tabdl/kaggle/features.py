"""Features of two columns for every model, chosen by the training rows of each fold."""

import time

import numpy as np

from tabdl.kaggle.folds import Fold
from tabdl.kaggle.metrics import Metric
from tabdl.kaggle.reading import Tables
from tabdl.preprocessing import InteractionFeatures


class FoldFeatures:
    """Interactions of columns, fitted once a fold and used by all models.

    No test row of a fold takes part in the choice for this fold.

    Parameters
    ----------
    n_features : int
        At most so many a fold.
    tables : Tables
    metric : Metric
    seed : int
    """

    def __init__(self, n_features: int, tables: Tables, metric: Metric, seed: int) -> None:
        self.n_features = n_features
        self.tables = tables
        self.metric = metric
        self.seed = seed
        self.seconds = 0.0
        self._fitted: dict[tuple[int, int], InteractionFeatures] = {}

    def choose(self, number: int, fold: Fold) -> list[str]:
        """Choose the features of a fold for every target, and return their names."""
        n_targets = 1 if self.tables.y.ndim == 1 else self.tables.y.shape[1]
        names = []
        for target in range(n_targets):
            all_names = self.fitted(number, fold, target).get_feature_names_out()
            names += all_names[self.tables.X.shape[1] :].tolist()
        return list(dict.fromkeys(names))

    def fitted(self, number: int, fold: Fold, target: int = 0) -> InteractionFeatures:
        """Return the transformer of a fold and of a target, by its place."""
        if (number, target) not in self._fitted:
            start = time.monotonic()
            rows = fold[0]
            y = self.metric.encode(self.tables.y[rows])
            y = y if y.ndim == 1 else y[:, target]
            task = "regression" if self.metric.is_regression else "classification"
            seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
            made = InteractionFeatures(self.n_features, task=task, random_state=seed)
            self._fitted[number, target] = made.fit(self.tables.X.iloc[rows], y)
            self.seconds += time.monotonic() - start
        return self._fitted[number, target]
