"""The training of several models on all folds, in the time that there is."""

import sys
from pathlib import Path

import numpy as np

from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.models import ModelSpec
from tabdl.kaggle.plan import SHORTEST, Plan
from tabdl.kaggle.store import TrainedFold, path_of_fold, read_fold, write_fold
from tabdl.kaggle.training import Setting, train_fold
from tabdl.kaggle.trees import Clock
from tabdl.kaggle.tuning import tune_models


class Schedule:
    """The folds that are left of each model.

    The first fold of every model comes first: what it takes is what the plan divides the rest of
    the time by.

    Parameters
    ----------
    specs : list of ModelSpec
    setting : Setting
    folder : Path
    plan : Plan
    """

    def __init__(self, specs: list[ModelSpec], setting: Setting, folder: Path, plan: Plan) -> None:
        self.setting = setting
        self.folder = folder
        self.plan = plan
        self.specs = {spec.name: spec for spec in specs}
        self.todo: list[tuple[str, int]] = []
        self.n_folds = len(setting.folds)
        for spec in specs:
            self._find_what_is_left(spec)
        self.todo.sort(key=lambda task: (task[1] > 0, list(self.specs).index(task[0]), task[1]))

    def _find_what_is_left(self, spec):
        for i in range(self.n_folds):
            path = path_of_fold(self.folder, spec.name, i)
            fold = read_fold(path, self.setting.shapes(i), spec.identity)
            if fold is None:
                self.todo.append((spec.name, i))
            else:
                self.plan.record(spec.name, fold.seconds, fold.was_cut)

    def run(self) -> None:
        """Train what is left, as far as the time goes; say what is left out.

        Raises
        ------
        KeyboardInterrupt
            When Ctrl-C ends the training; what was trained is kept.
        CompetitionError
            When a file cannot be written.
        """
        is_planned = False
        while self.todo:
            if not is_planned and all(number > 0 for _, number in self.todo):
                is_planned = True
                self._say_plan()
            if self._leave_out_what_is_hopeless():
                continue
            name, number = self.todo[0]
            share = self.plan.share(name, self._names())
            self.todo.pop(0)
            self._train(self.specs[name], number, share)

    def _names(self):
        return [name for name, _ in self.todo]

    def _leave_out_what_is_hopeless(self) -> bool:
        """Leave one model out where the folds that are left cannot be trained in time."""
        names = self._names()
        name = names[0]
        share = self.plan.share(name, names)
        expected = self.plan.expected(name)
        if not self.specs[name].can_be_cut and np.isfinite(expected) and expected > share:
            self._leave_out(
                name,
                f"a fold takes about {expected:.1f} s and cannot be cut, {share:.1f} s are "
                f"left for it",
            )
            return True
        if share >= SHORTEST or expected <= share:
            return False
        # The last of the models needs most.
        last = max(names, key=list(self.specs).index)
        self._leave_out(last, f"only {max(share, 0):.1f} s are left for a fold of each model")
        return True

    def _leave_out(self, name, reason):
        left = [number for model, number in self.todo if model == name]
        self.todo = [task for task in self.todo if task[0] != name]
        done = self.n_folds - len(left)
        print(f"{name} is left out ({done} of {self.n_folds} folds done): {reason}.", flush=True)

    def _say_plan(self) -> None:
        """Say what the folds that are left will take."""
        if not np.isfinite(self.plan.left()):
            return
        parts = []
        for name in dict.fromkeys(self._names()):
            n_folds = self._names().count(name)
            share = self.plan.share(name, self._names())
            expected = self.plan.expected(name)
            if expected <= share:
                parts.append(f"{name} {n_folds} × {expected:.1f} s")
            else:
                parts.append(f"{name} {n_folds} × {share:.1f} s, cut short")
        if parts:
            minutes = self.plan.left() / 60
            print(f"Plan for the {minutes:.1f} minutes left: {'; '.join(parts)}.", flush=True)

    def _train(self, spec: ModelSpec, number: int, share: float) -> None:
        limit = self.plan.limit(spec.name, share) if np.isfinite(share) else None
        try:
            fold = train_fold(spec, number, self.setting, limit, with_importances=number == 0)
            path = path_of_fold(self.folder, spec.name, number)
            write_fold(path, fold, spec.identity)
        except (CompetitionError, KeyboardInterrupt):
            raise
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            print(
                f"{spec.name} failed and is left out: {type(error).__name__}: {lines[0][:300]}",
                file=sys.stderr,
                flush=True,
            )
            self.todo = [task for task in self.todo if task[0] != spec.name]
            return
        self.plan.record(spec.name, fold.seconds, fold.was_cut, limit)
        self._say(spec.name, number, fold)

    def _say(self, name: str, number: int, fold: TrainedFold) -> None:
        cut = ", cut by the time limit" if fold.was_cut else ""
        print(
            f"{name}, fold {number + 1} of {self.n_folds}: score {fold.score:.5f}, "
            f"{fold.seconds:.1f} s{cut}",
            flush=True,
        )


def train_models(
    specs: list[ModelSpec], setting: Setting, folder: Path, seconds: float, tune: float
) -> None:
    """Train models on the folds that have no file yet.

    Parameters
    ----------
    specs : list of ModelSpec
    setting : Setting
    folder : Path
    seconds : float
        For everything; infinity for no limit.
    tune : float
        Of these, seconds to search parameters in.

    Raises
    ------
    CompetitionError
        When a file cannot be written.
    """
    plan = Plan(seconds)
    for spec in specs:
        setting.estimator(spec, Clock())  # what cannot be made is said before anything is trained
    try:
        if tune > 0:
            specs = tune_models(specs, setting, folder, min(tune, plan.left()))
        Schedule(specs, setting, folder, plan).run()
    except KeyboardInterrupt:
        print(
            "Interrupted; the blend is of the models that are done, and the same command goes on "
            "with the others.",
            flush=True,
        )
