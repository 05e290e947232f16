"""The datasets: tables with the paper's fixed split into training, validation and test rows."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Dataset:
    """A table with its split.

    Attributes
    ----------
    name : str
    task : {"regression", "binary"}
    train, val, test : tuple of (DataFrame, Series)
        X and y of each part.
    """

    name: str
    task: str
    train: tuple[pd.DataFrame, pd.Series]
    val: tuple[pd.DataFrame, pd.Series]
    test: tuple[pd.DataFrame, pd.Series]

    @property
    def is_regression(self):
        """Whether the target is a number."""
        return self.task == "regression"

    @property
    def eval_metric(self):
        """The paper's metric, as a scikit-learn scorer: accuracy, or minus the root mean squared error."""
        return "neg_root_mean_squared_error" if self.is_regression else "accuracy"


def _shipped(name, task):
    table = pd.read_parquet(DATA / f"{name}.parquet")

    def part(split):
        rows = table[table["split"] == split].reset_index(drop=True)
        return rows.drop(columns=["target", "split"]), rows["target"]

    return Dataset(name, task, part("train"), part("val"), part("test"))


def california_housing():
    """Pace and Barry 1997, 20,640 rows, 8 numbers, no categories; the paper's split. CC0."""
    return _shipped("california_housing", "regression")


def adult():
    """UCI Adult (Kohavi 1996), 48,842 rows, 6 numbers, 8 categories with missing values; the official test part. CC BY 4.0.

    Training and validation rows by the rule that gives the paper's sizes: ``train_test_split`` of the first 32,561 rows with
    ``test_size=0.2, random_state=0``, stratified.
    """
    return _shipped("adult", "binary")


DATASETS = {function.__name__: function for function in (california_housing, adult)}
