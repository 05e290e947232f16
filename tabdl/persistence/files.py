"""Fitted estimators in files that run no code when they are read: ``tabdl.save``, ``tabdl.load``.

The file is a zip of JSON and safetensors, see ``archive.py``. Reading it builds the estimator from
its parameters, checks every part of the fitted state, builds the network anew and fills it.
"""

import os
import sys
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

from tabdl.base.estimator import TabularEstimator
from tabdl.ensemble.base import BaseEnsemble
from tabdl.persistence.archive import (
    FORMAT,
    FORMAT_WITHOUT_FOREIGN,
    read_archive,
    write_archive,
)
from tabdl.persistence.tree import TreeReader, TreeWriter, check_weights

# What the readers below raise for damaged parts, beside ValueError.
_DAMAGED = (
    zipfile.BadZipFile,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
)


def save(estimator: Any, file: str | os.PathLike | BinaryIO) -> None:
    """Write an estimator to a file that runs no code when it is read.

    The file holds parameters, fitted state and versions, and no training rows. It is written as a
    whole: after a failure the path holds what it held before.

    Parameters
    ----------
    estimator : estimator of tabdl
        A network or an ensemble, fitted or not; also of a class of yours that has its own
        ``_build_net``. Members of an ensemble may be estimators of XGBoost, LightGBM and CatBoost.
    file : str, PathLike or binary file
        Such as ``"model.tabdl"``.

    Raises
    ------
    TypeError
        For what a file cannot hold: a parameter that is a function or another object, or a member
        of an ensemble from a fourth library. The message names it.
    ValueError
        For weights that are not finite.

    Warns
    -----
    UserWarning
        For ``callbacks``, and for what ``tabdl.pretrain`` left, which are not in the file.

    Examples
    --------
    >>> import tabdl
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = tabdl.TabMLPClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.tabdl"
    >>> tabdl.save(model, path)
    >>> bool((tabdl.load(path).predict(X) == model.predict(X)).all())
    True
    """
    if not isinstance(estimator, TabularEstimator | BaseEnsemble):
        raise TypeError(
            f"save: estimator must be an estimator of tabdl, got {type(estimator).__name__}; for a "
            "Pipeline or a search use skops.io.dump or pickle."
        )
    if estimator.__sklearn_is_fitted__():
        check_weights(estimator)
    writer = TreeWriter(_own_classes())
    tree = writer.write(estimator)
    number = FORMAT if writer.has_foreign else FORMAT_WITHOUT_FOREIGN
    write_archive(file, tree, writer.arrays, number)


def load(
    file: str | os.PathLike | BinaryIO, *, classes: Sequence[type] = (), foreign: bool = False
) -> Any:
    """Return the estimator of a file that :func:`save` has written.

    Nothing of the file is run, and nothing is trusted: a file that was damaged, or made to do
    harm, is refused. Memory stays within a multiple of the size of the file.

    Parameters
    ----------
    file : str, PathLike or binary file
        What is read.
    classes : list of class
        Classes of yours that the file may hold: subclasses of ``tabdl.base.TabularEstimator``.
    foreign : bool
        Whether members of XGBoost, LightGBM and CatBoost are read by the parsers of these
        libraries. Those are not made for files from anybody: allow it for files that you trust.
        False: a file with such members is refused.

    Returns
    -------
    estimator
        It predicts what the saved one predicted. Where this machine lacks its device, it predicts
        on the CPU.

    Raises
    ------
    ValueError
        For a file that :func:`save` has not written, or one of a newer format; the message says
        what to do.
    OSError
        For a path that cannot be read.
    """
    others = {cls.__name__: _checked_class(cls) for cls in classes}
    if not isinstance(file, str | os.PathLike):
        return _load(file, others, foreign, "the file")
    with open(file, "rb") as stream:
        return _load(stream, others, foreign, repr(os.fspath(file)))


def _load(stream: BinaryIO, other_classes: dict[str, type], foreign: bool, shown: str) -> Any:
    try:
        tree, arrays = read_archive(stream)
        estimator = TreeReader(arrays, _own_classes(), other_classes, foreign).read(tree)
        if arrays:
            raise ValueError(f"it has tensors that nothing names: {sorted(arrays)[:3]}")
        if not isinstance(estimator, TabularEstimator | BaseEnsemble):
            raise ValueError("it holds no estimator")
    except ValueError as error:
        raise ValueError(f"load: {shown} cannot be read: {error}") from error
    except _DAMAGED as error:
        raise ValueError(
            f"load: {shown} is no file of tabdl, or damaged: "
            f"{type(error).__name__}: {str(error)[:200]}"
        ) from error
    return estimator


def _own_classes() -> dict[str, type]:
    """Return the public estimators of tabdl by name."""
    # The package stands above all its modules, so that no module can import it.
    public = vars(sys.modules["tabdl"]).values()
    return {cls.__name__: cls for cls in public if _is_estimator_class(cls)}


def _is_estimator_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, TabularEstimator | BaseEnsemble)


def _checked_class(cls: Any) -> type:
    if not _is_estimator_class(cls):
        raise TypeError(f"load: classes must be classes of estimators of tabdl, got {cls!r}.")
    return cls
