"""The answers of a competition as a table: in the form of a sample submission, where there is
one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.files import write_file
from tabdl.kaggle.metrics import Metric
from tabdl.kaggle.reading import Tables


def prediction_table(prediction: np.ndarray, tables: Tables, metric: Metric) -> pd.DataFrame:
    """Return what a model predicts as columns: probabilities of classes, or values.

    Parameters
    ----------
    prediction : ndarray of shape (n, C), (n,) or (n, targets)
    tables : Tables
    metric : Metric
    """
    if tables.classes is None:
        values = metric.decode(prediction).reshape(len(prediction), -1)
        return pd.DataFrame(values, columns=pd.Index(tables.targets))
    target = tables.targets[0]
    if len(tables.classes) == 2:
        return pd.DataFrame({target: prediction[:, 1]})
    names = [f"{target}_{label}" for label in tables.classes]
    return pd.DataFrame(prediction, columns=pd.Index(names))


def answer_table(
    prediction: np.ndarray, tables: Tables, metric: Metric, class_weights: np.ndarray | None
) -> pd.DataFrame:
    """Return the answers as a submission has them, without ids and in the order of the test file.

    Parameters
    ----------
    prediction : ndarray of shape (T, C), (T,) or (T, targets)
    tables : Tables
    metric : Metric
    class_weights : ndarray of shape (C,) or None
        Factors of the probabilities before labels are chosen.
    """
    classes = tables.classes
    if classes is None or metric.answer == "probability":
        return prediction_table(prediction, tables, metric)
    if metric.answer == "label":
        return pd.DataFrame({tables.targets[0]: classes[metric.labels(prediction, class_weights)]})
    best = np.argsort(-prediction, axis=1, kind="stable")[:, : metric.k]
    return pd.DataFrame({tables.targets[0]: [" ".join(map(str, classes[row])) for row in best]})


def submission_table(
    prediction: np.ndarray, tables: Tables, metric: Metric, class_weights: np.ndarray | None
) -> pd.DataFrame:
    """Return the submission: ids and answers, in the order and columns of the sample.

    Raises
    ------
    CompetitionError
        When the sample has other columns than there are answers.
    """
    answers = answer_table(prediction, tables, metric, class_weights)
    ids = tables.test_ids
    if tables.sample is not None:
        answers = _columns_of_sample(answers, prediction, tables, metric)
    table = pd.concat([ids.reset_index(drop=True), answers.reset_index(drop=True)], axis=1)
    table = table.iloc[tables.order].reset_index(drop=True)
    if tables.sample is not None:
        table = table[list(tables.sample.columns)]
    return table


def _columns_of_sample(answers, prediction, tables, metric):
    """Return the answers under the names that the sample submission has."""
    names = [name for name in tables.sample.columns if name != tables.id_name]
    classes = tables.classes
    is_wide = classes is not None and metric.answer == "probability" and len(names) > 1
    if is_wide:
        return _columns_of_classes(names, prediction, tables)
    if len(names) != answers.shape[1]:
        raise CompetitionError(
            f"--sample: it has the columns {', '.join(map(repr, names[:10]))} beside the ids; "
            f"the answers are {answers.shape[1]}: {', '.join(map(repr, answers.columns[:10]))}. "
            f"Is --metric {metric.name} the right one?"
        )
    if set(names) == set(answers.columns):
        return answers[names]
    return answers.set_axis(pd.Index(names), axis=1)


def _columns_of_classes(names, prediction, tables):
    """Return probabilities in the columns of a sample, which name the classes in some way.

    A class that no training row has is given the probability 0.
    """
    target = tables.targets[0]
    labels = {str(label): code for code, label in enumerate(tables.classes)}
    found = {}
    for name in names:
        ends = [label for label in labels if name.endswith(("_" + label, " " + label, "-" + label))]
        for text in (name, name.removeprefix(f"{target}_"), *sorted(ends, key=len)[-1:]):
            if text in labels:
                found[name] = labels[text]
                break
    if absent := [label for label, code in labels.items() if code not in found.values()]:
        raise CompetitionError(
            f"--sample: no column is named after the class {absent[0]!r}; it has "
            f"{', '.join(map(repr, names[:10]))}."
        )
    if unknown := [name for name in names if name not in found]:
        print(
            f"No training row has the class of the sample's {', '.join(map(repr, unknown[:10]))}: "
            f"its probability is 0.",
            flush=True,
        )
    nothing = np.zeros(len(prediction))
    return pd.DataFrame(
        {name: prediction[:, found[name]] if name in found else nothing for name in names}
    )


def write_submission(path: Path, table: pd.DataFrame, ids: Sequence[str] | None) -> None:
    """Write a submission, and check it as it is on the disk before it takes its place.

    Parameters
    ----------
    path : Path
    table : DataFrame of T rows
    ids : list of str, length T, or None
        What the first column must hold; None where the sample has no ids.

    Raises
    ------
    CompetitionError
        When a row, an id or a value is missing, or the rows are in another order.
    """

    def check(new):
        written = pd.read_csv(new, dtype=str, keep_default_na=False)
        if len(written) != len(table) or (ids is not None and len(ids) != len(table)):
            problem = f"{len(written)} rows for {len(ids or table)} rows to predict"
        elif ids is not None and list(ids) not in [written[c].tolist() for c in written.columns]:
            problem = "ids that are not those of the test file, in its order"
        elif (written == "").any(axis=None) or not _is_finite(table):
            problem = "cells that are empty or no finite number"
        else:
            return
        raise CompetitionError(f"{path} is not written: it would have {problem}.")

    write_file(path, lambda new: table.to_csv(new, index=False), check)


def _is_finite(table):
    return np.isfinite(table.select_dtypes("number").to_numpy(np.float64)).all()
