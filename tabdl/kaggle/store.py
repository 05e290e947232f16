"""What a trained fold leaves in the folder of a competition, and reads back like a stranger's.

A fold is one file, ``models/NAME/fold_03.npz``: it is there as a whole or not at all.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tabdl.kaggle.files import write_file

_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)
_FACTS = ("score", "seconds", "was_cut", "curve", "importances", "lengths")


@dataclass(frozen=True)
class TrainedFold:
    """The predictions of a model that was trained on a fold.

    Attributes
    ----------
    oof : ndarray of shape (n,) or (n, C)
        Values or probabilities of the fold's test rows.
    test : ndarray of shape (T,) or (T, C)
        Of the rows to predict.
    score : float
        Of ``oof``; higher is better. NaN where all rows were trained on.
    seconds : float
    was_cut : bool
        Whether the time limit ended the training.
    curve : list of float
        Validation losses.
    importances : dict from column to float, or None
        How much the score falls when a column is shuffled.
    lengths : list of int
        Epochs or trees that are kept, for each target; empty where that is not known.
    """

    oof: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    score: float
    seconds: float
    was_cut: bool
    curve: list[float]
    importances: dict[str, float] | None
    lengths: list[int] = field(default_factory=list)


def path_of_fold(folder: Path, model: str, number: int) -> Path:
    """Return the file of a fold."""
    return folder / "models" / model / f"fold_{number:02d}.npz"


def path_of_refit(folder: Path, model: str) -> Path:
    """Return the file of a training on all rows."""
    return folder / "models" / model / "refit.npz"


def write_fold(path: Path, fold: TrainedFold, identity: Mapping[str, Any]) -> None:
    """Write a fold, with what it was trained from."""
    facts = {name: getattr(fold, name) for name in _FACTS} | {"identity": identity}
    arrays = {"oof": fold.oof, "test": fold.test, "facts": np.array(json.dumps(facts))}
    write_file(path, partial(_save, arrays=arrays))


def _save(path, arrays):
    np.savez(path, **arrays)


def read_fold(
    path: Path, shapes: Mapping[str, tuple[int, ...]], identity: Mapping[str, Any] | None = None
) -> TrainedFold | None:
    """Return a trained fold; None where there is none, or, with a line, where it cannot be used.

    Parameters
    ----------
    path : Path
    shapes : dict
        Of "oof" and "test".
    identity : dict, optional
        What the fold must be trained from; a file of another model is removed.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            arrays = {name: file[name] for name in ("oof", "test")}
        stored = facts.pop("identity")
        fold = _checked(arrays, facts, shapes)
    except _DAMAGED as error:
        reason = f"{type(error).__name__}: {error}"
        print(f"{path} is damaged and counts as absent ({reason}).", flush=True)
        return None
    if identity is not None and stored != json.loads(json.dumps(identity)):
        print(f"{path} is of other parameters, and is trained again.", flush=True)
        path.unlink()
        return None
    return fold


def _checked(arrays, facts, shapes):
    for name, array in arrays.items():
        if array.shape != shapes[name] or array.dtype != np.float64:
            raise ValueError(f"{name} must have shape {shapes[name]}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds missing or infinite values")
    if set(facts) != set(_FACTS) or not isinstance(facts["was_cut"], bool):
        raise ValueError(f"the facts must be {', '.join(_FACTS)}")
    importances = facts["importances"]
    numbers = [facts["score"], facts["seconds"], *facts["curve"], *facts["lengths"]]
    numbers += (importances or {}).values()
    if not all(isinstance(value, int | float) for value in numbers):
        raise ValueError("something else stands in the place of a number")
    return TrainedFold(**arrays, **facts)


@dataclass(frozen=True)
class TrainedModel:
    """A model that was trained on some or all folds.

    Attributes
    ----------
    name : str
    oof : ndarray of shape (N,) or (N, C)
        The mean of the folds that did not train on a row; NaN where there is none.
    test : ndarray of shape (T,) or (T, C)
        The mean of the folds, and of the refit where there is one.
    score : float
        Of the rows of ``oof`` that are there; higher is better.
    folds : list of TrainedFold
    n_folds : int
        How many there should be.
    is_refitted : bool
        Whether a training on all rows has a part in ``test``.
    """

    name: str
    oof: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    score: float
    folds: list[TrainedFold] = field(repr=False)
    n_folds: int
    is_refitted: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether every fold was trained."""
        return len(self.folds) == self.n_folds

    @property
    def mean_score(self) -> float:
        """The mean of the scores of the folds; higher is better."""
        return float(np.mean([fold.score for fold in self.folds]))

    @property
    def n_cut(self) -> int:
        """The number of folds whose training the time limit ended."""
        return sum(fold.was_cut for fold in self.folds)

    @property
    def seconds(self) -> float:
        """The seconds of all its folds."""
        return sum(fold.seconds for fold in self.folds)

    @property
    def importances(self) -> dict[str, float] | None:
        """The mean importances of the folds that have some."""
        found = [fold.importances for fold in self.folds if fold.importances]
        if not found:
            return None
        return {name: float(np.mean([i[name] for i in found])) for name in found[0]}


def rows_with_oof(oof: np.ndarray) -> np.ndarray:
    """Return whether each row has a prediction, bool (N,)."""
    return np.asarray(np.isfinite(oof.reshape(len(oof), -1)).all(1))
