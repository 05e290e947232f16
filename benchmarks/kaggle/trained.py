"""What a trained model leaves in the folder of a competition, and reads back like a stranger's."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.errors import HarnessError
from benchmarks.kaggle.files import write_file


@dataclass(frozen=True)
class Trained:
    """The predictions and scores of a model.

    Attributes
    ----------
    name : str
    oof, test : ndarray of shape (N,) or (N, C)
        Values or probabilities of the training rows, out of fold, and of the test rows.
    n_folds : int
        Folds that were trained; fewer than asked for after Ctrl-C.
    score : float
        Of ``oof``; higher is better.
    scores : list of float
        A fold each.
    seconds : float
    curves : list of list of float
        Validation losses of each fold.
    """

    name: str
    oof: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    n_folds: int
    score: float
    scores: list[float]
    seconds: float
    curves: list[list[float]]

    def write(self, folder: Path, settings: Mapping) -> None:
        """Write the files; ``report.json`` is the last one and says that the others are whole."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").unlink(missing_ok=True)
        for part in ("oof", "test"):
            write_file(folder / f"{part}.npy", partial(_save, array=getattr(self, part)))
        report = {name: value for name, value in vars(self).items() if name not in _ARRAYS}
        text = json.dumps(report | {"settings": settings})
        write_file(folder / "report.json", lambda path: path.write_text(text, encoding="utf-8"))


_ARRAYS = ("oof", "test")


def _save(path, array):
    np.save(path, array)


def read_trained(
    folder: Path, settings: Mapping, n_rows: Mapping[str, int], n_classes: int | None
) -> Trained | None:
    """Return the model of a folder; None where there is none, or, with a line, a damaged one.

    Parameters
    ----------
    folder : Path
        Named as the model.
    settings : dict
    n_rows : dict
        From "oof" and "test" to the number of rows.
    n_classes : int or None
        None for values.

    Raises
    ------
    HarnessError
        When the model belongs to other files or settings.
    """
    path = folder / "report.json"
    if not path.exists():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        stored = report.pop("settings")
        arrays = {part: _read_array(folder, part, n_rows[part], n_classes) for part in _ARRAYS}
        trained = _checked(folder.name, report, arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        reason = f"{type(error).__name__}: {error}"
        print(f"{folder} is damaged and counts as absent ({reason}).", flush=True)
        return None
    if stored != settings:
        raise HarnessError(
            f"{folder.parent} holds a run of other files or settings; delete it, or give --out "
            f"another name."
        )
    return trained


def _read_array(folder, part, n_rows, n_classes):
    array = np.load(folder / f"{part}.npy")
    shape = (n_rows,) if n_classes is None else (n_rows, n_classes)
    if array.shape != shape or array.dtype.kind != "f":
        raise ValueError(f"{part}.npy must have shape {shape}, got {array.shape} {array.dtype}")
    if part == "test" and not np.isfinite(array).all():
        raise ValueError("test.npy holds missing or infinite values")
    return array


def _checked(name, report, arrays):
    expected = {f.name for f in fields(Trained)} - set(_ARRAYS)
    if set(report) != expected or report["name"] != name:
        raise ValueError(f"report.json must have {sorted(expected)} of {name}")
    numbers = [report["score"], report["seconds"], *report["scores"], *sum(report["curves"], [])]
    if not all(isinstance(value, int | float) for value in [*numbers, report["n_folds"]]):
        raise ValueError("report.json holds something else in the place of a number")
    return Trained(**report, **arrays)
