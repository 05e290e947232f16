"""A fitted network as text."""

from typing import Any

from sklearn.utils.validation import check_is_fitted

from tabdl.base.estimator import TabularEstimator
from tabdl.base.facts import facts


def summary(estimator: Any) -> str:
    """Return rows, columns by kind, epochs, parameters, width, multiplications and device as text.

    Parameters
    ----------
    estimator : fitted estimator of tabdl with a network

    Returns
    -------
    str
        A line for each fact.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    TypeError
        For an estimator without a network, such as an ensemble.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import TabMLPClassifier
    >>> from tabdl.inspection import summary
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = TabMLPClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> print(summary(model).splitlines()[1])
    Rows                   120 to train, 30 for validation
    """
    if not isinstance(estimator, TabularEstimator):
        raise TypeError(
            f"summary: estimator must have a network of tabdl, got {type(estimator).__name__}; an "
            "ensemble has its networks in estimators_ or members_."
        )
    check_is_fitted(estimator)
    lines = facts(estimator)
    width = max(map(len, lines)) + 2
    return "\n".join(
        [type(estimator).__name__, *(f"{head:{width}s}{text}" for head, text in lines.items())]
    )
