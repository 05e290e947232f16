"""A competition, from its files to a submission, step by step::

competition = Competition.read("train.csv", "test.csv", target="y", metric="auc")
competition.train(["lightgbm", "tabm"], time_limit=10)
competition.blend().scores
competition.submit("submission.csv")
competition.report()
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any, Self

import numpy as np
import pandas as pd

from tabdl.kaggle.blending import Blend, blend_models, seconds_to_blend
from tabdl.kaggle.columns import row_hashes
from tabdl.kaggle.diagnosis import Shift, find_shift
from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.features import FoldFeatures
from tabdl.kaggle.files import locked, write_text
from tabdl.kaggle.folds import Fold, make_folds, write_folds
from tabdl.kaggle.metrics import Metric, check_score, find_metric, metric_of_file
from tabdl.kaggle.models import find_models
from tabdl.kaggle.reading import Files, Source, Tables, read_tables
from tabdl.kaggle.schedule import train_models
from tabdl.kaggle.store import (
    TrainedFold,
    TrainedModel,
    path_of_fold,
    path_of_refit,
    read_fold,
    rows_with_oof,
)
from tabdl.kaggle.submission import prediction_table, submission_table, write_submission
from tabdl.kaggle.training import Setting

_COLUMNS = ("score", "sd", "all_rows", "folds", "seconds", "cut", "refit")
_SECONDS_OF_REPORT = 2.0  # without the shift, on a slow core
_ROWS_OF_TRIAL = 5_000  # that are written to see how long files take


class Competition:
    """The tables, the folds and the trained models of a competition; see :meth:`read`.

    All that is trained is a file in the folder: a second start goes on where the first ended.

    Parameters
    ----------
    tables : Tables
        Training and test rows, as ``tabdl.kaggle.reading.read_tables`` returns them.
    metric : Metric
        What scores a prediction.
    folds : list of (int ndarray, int ndarray)
        Training and test rows, the same for every model.
    folder : Path
        Where everything is kept.
    seed : int
        Of models and their averages.

    Attributes
    ----------
    n_jobs : int or None
        Threads of the latest training, and of the report.
    """

    def __init__(
        self, tables: Tables, metric: Metric, folds: list[Fold], folder: Path, seed: int
    ) -> None:
        self.tables = tables
        self.metric = metric
        self.folds = folds
        self.folder = folder
        self.seed = seed
        self.n_jobs: int | None = None
        self._blend: Blend | None = None

    @classmethod
    def read(
        cls,
        train: Source,
        test: Source,
        *,
        target: str | Sequence[str],
        metric: str | Path,
        folder: str | Path = "competition",
        id: str | None = None,
        sample: Source | None = None,
        extra: Source | None = None,
        folds: int = 8,
        repeats: int = 1,
        groups: str | None = None,
        time: str | None = None,
        folds_file: str | Path | None = None,
        seed: int = 0,
    ) -> Self:
        """Return the competition of some files, or tables.

        Parameters
        ----------
        train, test : path or DataFrame
            CSV (any separator and encoding that can be found out; compressed too) or Parquet.
        target : str or list of str
            The column to predict; several with metrics of numbers.
        metric : str or Path
            A name, as of the option ``--metric``, or a Python file (".py") with
            ``score(y_true, prediction)``.
        folder : path
            Where everything is kept.
        id : str, optional
            The column that names rows.
        sample : path or DataFrame, optional
            A sample submission: decides ids, columns, their order and format.
        extra : path or DataFrame, optional
            More training rows, which no fold tests.
        folds, repeats : int
            How many folds, and how often all of them are made.
        groups : str, optional
            A column whose rows of one value stay in one fold.
        time : str, optional
            A column of dates or numbers. Folds test stretches of the later half of the rows, each
            after all before it; the latest quarter of them predicts.
        folds_file : path, optional
            A table with the fold of each training row.
        seed : int
            Seed of the folds and of the models.

        Returns
        -------
        Competition

        Raises
        ------
        CompetitionError
            When files or options cannot be used, or the folder holds another competition.
        """
        targets = [target] if isinstance(target, str) else list(target)
        files = Files(train, test, targets, id, sample, extra, groups, time)
        if isinstance(metric, str) and metric.endswith(".py"):
            metric = Path(metric)
        found = metric_of_file(metric) if isinstance(metric, Path) else find_metric(metric)
        tables = read_tables(files, found)
        if isinstance(metric, Path):
            found = metric_of_file(metric, tables.classes)
        n_classes = None if tables.classes is None else len(tables.classes)
        check_score(found, tables.y[: tables.n_rows], n_classes)
        folds_path = None if folds_file is None else Path(folds_file)
        made = make_folds(tables, folds, repeats, seed, folds_path)
        competition = cls(tables, found, made, Path(folder), seed)
        with locked(competition.folder):
            competition._claim_folder()
        return competition

    def _claim_folder(self):
        """Write what the folder belongs to; raise where that is another competition."""
        path = self.folder / "competition.json"
        settings = self.settings
        try:
            stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else settings
        except (ValueError, OSError) as error:
            print(f"{path} is damaged and counts as absent ({error}).", flush=True)
            stored = settings
        if stored != settings:
            differ = [name for name in settings if settings[name] != dict(stored).get(name)]
            raise CompetitionError(
                f"{self.folder} holds a run of other files or settings "
                f"({', '.join(differ)}); delete it, or give --out another name."
            )
        write_text(path, json.dumps(settings, indent=1) + "\n")
        write_folds(self.folder / "folds.csv", self.tables, self.folds)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        tables = self.tables
        return {
            "train": _hash_of_table(tables.X, tables.y),
            "test": _hash_of_table(tables.X_test, tables.order),
            "target": tables.targets,
            "metric": self.metric.name,
            "id": tables.id_name,
            "folds": _hash_of_arrays(sum(map(list, self.folds), [])),
            "seed": self.seed,
        }

    @cached_property
    def follows_time(self) -> bool:
        """Whether each fold tests rows that come after all of its own training rows."""
        time = self.tables.time
        return time is not None and all(
            time[train[train < len(time)]].max() < time[test].min() for train, test in self.folds
        )

    # --- training

    def train(
        self,
        models: Sequence[str] | None = None,
        *,
        time_limit: float | None = None,
        seeds: int = 1,
        variants: str | Path | dict | None = None,
        model_file: str | Path | None = None,
        tune: float = 0.0,
        features: int = 0,
        refit: bool | None = None,
        device: str = "auto",
        n_jobs: int | None = None,
    ) -> pd.DataFrame:
        """Train models on every fold that has no file yet, and return the leaderboard.

        Parameters
        ----------
        models : list of str, optional
            Names of ``tabdl.kaggle.models.MODELS``, of ``variants`` or of ``model_file``.
        time_limit : float, optional
            Minutes for all models together. None: each trains to its end.
        seeds : int
            How many of each are trained on a fold, and averaged.
        variants : path or dict, optional
            From name to ``{"model": name, parameter: value, …}``.
        model_file : path, optional
            A Python file whose ``MODELS`` is a dict from name to estimator.
        tune : float
            Minutes, of ``time_limit``, to search parameters in.
        features : int
            At most so many features of two columns are added to each fold, see
            :class:`~tabdl.preprocessing.InteractionFeatures`. Its training rows choose them.
        refit : bool, optional
            Whether each model that has all its folds is trained on all rows, too, as many epochs or
            trees as the median fold kept. For the test rows it counts as one more fold. No
            out-of-fold score says whether that helps. None: where folds follow time, since only
            such a training has seen the latest rows.
        device : str
            Where networks are trained. Several with commas, as "cuda:0,cuda:1", train folds side
            by side, and trees on the CPU meanwhile. "auto" and "cuda" take all CUDA devices.
        n_jobs : int, optional
            Threads.

        Returns
        -------
        DataFrame
            See :meth:`leaderboard`.

        Raises
        ------
        CompetitionError
            When a model is unknown, the machine lacks a device, the time is too short to choose
            features, or a file cannot be written.
        """
        _check_numbers(time_limit=time_limit, seeds=seeds, tune=tune, features=features)
        models = [models] if isinstance(models, str) else models
        if isinstance(variants, str):
            variants = Path(variants)
        specs = find_models(
            None if models is None else list(models),
            None if model_file is None else Path(model_file),
            variants,
            seeds,
        )
        made = None
        if features:
            made = FoldFeatures(features, self.tables, self.metric, self.seed)
        setting = Setting(self.tables, self.metric, self.folds, self.seed, device, n_jobs, made)
        self.n_jobs = n_jobs
        refit = self.follows_time if refit is None else refit
        seconds = np.inf if time_limit is None else 60 * time_limit
        with locked(self.folder):
            train_models(specs, setting, self.folder, seconds, 60 * tune, refit)
        self._blend = None
        return self.leaderboard()

    def trained(self) -> list[TrainedModel]:
        """Return the models that have a trained fold in the folder, in the order of their names.

        Returns
        -------
        list of TrainedModel
        """
        root = self.folder / "models"
        names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        found = [self._trained(name) for name in names]
        return [model for model in found if model is not None]

    def _trained(self, name):
        setting = Setting(self.tables, self.metric, self.folds, self.seed)
        paths = [path_of_fold(self.folder, name, i) for i in range(len(self.folds))]
        numbered = [
            (i, fold)
            for i, path in enumerate(paths)
            if (fold := read_fold(path, setting.shapes(i))) is not None
        ]
        if not numbered:
            return None
        refit = read_fold(path_of_refit(self.folder, name), setting.shapes(setting.all_rows))
        return self._join(name, numbered, refit if len(numbered) == len(paths) else None)

    def _join(
        self, name: str, numbered: list[tuple[int, TrainedFold]], refit: TrainedFold | None
    ) -> TrainedModel:
        """Return the folds of a model, and its refit where there is one, as one."""
        n_rows = self.tables.n_rows
        total = np.zeros((n_rows, *numbered[0][1].oof.shape[1:]))
        count = np.zeros(n_rows)
        for i, fold in numbered:
            rows = self.folds[i][1]
            total[rows] += fold.oof
            count[rows] += 1
        with np.errstate(invalid="ignore"):
            oof = total / count.reshape(-1, *[1] * (total.ndim - 1))
        covered = rows_with_oof(oof)
        score = self.metric.score(self.tables.y[:n_rows][covered], oof[covered])
        folds = [fold for _, fold in numbered]
        # Of a time the latest folds know what came just before the rows to predict.
        counted = folds[-max(1, len(folds) // 4) :] if self.follows_time else folds
        test = np.mean([fold.test for fold in [*counted, *([refit] if refit else [])]], axis=0)
        return TrainedModel(name, oof, test, score, folds, len(self.folds), refit is not None)

    def leaderboard(self) -> pd.DataFrame:
        """Return a row for each model, the best first.

        Returns
        -------
        DataFrame
            With the columns "model"; "score" (mean of the folds) and "sd"; "all_rows" (score of all
            out-of-fold predictions at once); "folds"; "seconds"; "cut" (folds that the time limit
            ended); "refit" (whether a training on all rows has a part in the predictions).
        """
        rows = [
            {
                "model": model.name,
                "score": model.mean_score,
                "sd": float(np.std([fold.score for fold in model.folds])),
                "all_rows": model.score,
                "folds": f"{len(model.folds)} of {model.n_folds}",
                "seconds": model.seconds,
                "cut": model.n_cut,
                "refit": model.is_refitted,
            }
            for model in self.trained()
        ]
        table = pd.DataFrame(rows, columns=["model", *_COLUMNS])
        return table.sort_values("score", ascending=False, ignore_index=True)

    # --- the end

    def _parts(self) -> np.ndarray:
        """Return the fold of each row, (N,), and -1 where none tests it."""
        parts = np.full(self.tables.n_rows, -1)
        for number, (_, test) in enumerate(self.folds):
            parts[test] = number
        return parts

    def blend(self, models: Sequence[str] | None = None) -> Blend:
        """Return the blend of the models that were trained on every fold.

        Parameters
        ----------
        models : list of str, optional
            Only these.

        Returns
        -------
        Blend
            With ``scores``, ``weights``, and the predictions ``oof`` and ``test``.

        Raises
        ------
        CompetitionError
            When there is none.
        """
        chosen = self.usable(models)
        try:
            y = self.tables.y[: self.tables.n_rows]
            self._blend = blend_models(chosen, y, self.metric, self._parts(), self.follows_time)
        except (ValueError, ArithmeticError) as error:
            raise CompetitionError(
                f"The blend failed: {error} The predictions of each model are kept in "
                f"{self.folder}."
            ) from error
        return self._blend

    def usable(self, models: Sequence[str] | None = None) -> list[TrainedModel]:
        """Return the models that a blend is made of.

        These are the models of all folds; where there is none, those of the most folds.

        Parameters
        ----------
        models : list of str, optional
            Only these.

        Returns
        -------
        list of TrainedModel

        Raises
        ------
        CompetitionError
            When nothing was trained.
        """
        every = self.trained()
        models = [models] if isinstance(models, str) else models
        if unknown := [name for name in models or [] if name not in {m.name for m in every}]:
            raise CompetitionError(
                f"{', '.join(unknown)}: no such model is trained; there are "
                f"{', '.join(m.name for m in every) or 'none'}."
            )
        trained = [m for m in every if models is None or m.name in models]
        if not trained:
            raise CompetitionError(
                "No model was trained: all failed, or the time limit was over. There is no "
                "submission."
            )
        most = max(len(model.folds) for model in trained)
        return [model for model in trained if len(model.folds) == most]

    def seconds_to_finish(self, n_models: int) -> float:
        """Return about how long the blend, the files and the report take, without :attr:`shift`.

        Parameters
        ----------
        n_models : int
            How many models are blended.

        Returns
        -------
        float
            Seconds.
        """
        tables, metric = self.tables, self.metric
        y = tables.y[: tables.n_rows]
        blend = seconds_to_blend(y, tables.classes, metric, n_models, self.follows_time)
        trial = y[:_ROWS_OF_TRIAL].astype(float)
        if tables.classes is not None:
            trial = np.random.default_rng(0).random((len(trial), len(tables.classes)))
        start = monotonic()
        self._text_of_predictions(tables.ids[: len(trial)], trial)
        a_row = (monotonic() - start) / len(trial)
        n_rows = (n_models + 1) * (tables.n_rows + len(tables.X_test))
        return blend + a_row * n_rows + _SECONDS_OF_REPORT

    @cached_property
    def shift(self) -> Shift | None:
        """How well a model tells the rows of both files apart, for the report."""
        return find_shift(self.tables, self.n_jobs)

    def submit(self, path: str | Path = "submission.csv") -> Path:
        """Write the submission of the latest blend, and in the folder every model's predictions.

        Parameters
        ----------
        path : path
            The submission.

        Returns
        -------
        Path
            The same.

        Raises
        ------
        CompetitionError
            When a file cannot be written as it must be.
        """
        blend = self._blend or self.blend()
        tables = self.tables
        table = submission_table(blend.test, tables, self.metric, blend.class_weights)
        has_ids = tables.sample is None or tables.id_name in table.columns
        ids = tables.test_ids.iloc[tables.order].tolist() if has_ids else None
        with locked(self.folder):
            write_submission(Path(path), table, ids)
            for name, oof, test in [
                *((m.name, m.oof, m.test) for m in self.trained()),
                ("blend", blend.oof, blend.test),
            ]:
                self._write_predictions(f"oof_{name}.csv", tables.ids, oof)
                self._write_predictions(f"test_{name}.csv", tables.test_ids, test)
        return Path(path)

    def _write_predictions(self, name, ids, prediction):
        write_text(self.folder / name, self._text_of_predictions(ids, prediction))

    def _text_of_predictions(self, ids, prediction):
        table = prediction_table(prediction, self.tables, self.metric)
        return pd.concat([ids.reset_index(drop=True), table], axis=1).to_csv(index=False)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report of the latest blend, one page of HTML.

        Parameters
        ----------
        path : path, optional
            Default: ``report.html`` in the folder.

        Returns
        -------
        Path
            The same, or the default.

        Raises
        ------
        CompetitionError
            When the file cannot be written.
        """
        from tabdl.kaggle.report import report_page

        blend = self._blend or self.blend()
        path = self.folder / "report.html" if path is None else Path(path)
        write_text(path, report_page(self, blend))
        return path


def _check_numbers(time_limit, **others):
    """Check the numbers of a training."""
    if time_limit is not None and not time_limit > 0:
        raise CompetitionError(f"time_limit must be None or minutes above 0, got {time_limit}.")
    for name, value in others.items():
        if value < (name == "seeds"):
            raise CompetitionError(f"{name} must be {int(name == 'seeds')} or more, got {value}.")


def _hash_of_table(X: pd.DataFrame, y: np.ndarray) -> str:
    names = np.frombuffer("\0".join(X.columns).encode(), np.uint8)
    return _hash_of_arrays([row_hashes(X), y, names])


def _hash_of_arrays(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
