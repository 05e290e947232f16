"""The training of several models on all folds, in the time that there is."""

import contextlib
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tabdl.kaggle.blending import greedy_weights_of
from tabdl.kaggle.devices import find_devices
from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.models import ModelSpec
from tabdl.kaggle.plan import SHORTEST, Plan
from tabdl.kaggle.store import (
    TrainedFold,
    path_of_fold,
    path_of_refit,
    read_fold,
    write_fold,
)
from tabdl.kaggle.training import Setting, train_fold
from tabdl.kaggle.trees import Clock
from tabdl.kaggle.tuning import tune_models
from tabdl.kaggle.worker import TimeIsOver, Worker

_MOST_TIME_OF_FEATURES = 0.5  # share of the time
_MUCH_LONGER = 2.0  # with so many times the seconds, a network is no longer what it was
_NOT_REFITTED = "not refitted on all rows"


@dataclass(frozen=True, eq=False)
class Lane:
    """A device, on which one fold after the other is trained.

    Attributes
    ----------
    device : str
        Of networks.
    takes_networks, takes_others : bool
        What is trained there.
    """

    device: str
    takes_networks: bool = True
    takes_others: bool = True

    def takes(self, spec: ModelSpec) -> bool:
        """Return whether a model is trained there."""
        return self.takes_networks if spec.is_network else self.takes_others


def make_lanes(device: str) -> list[Lane]:
    """Return a lane for each device, and one on the CPU for all but networks.

    One lane for all with one device.
    """
    devices = find_devices(device)
    if len(devices) == 1:
        return [Lane(devices[0])]
    networks = [Lane(name, takes_others=False) for name in devices]
    return [*networks, Lane("cpu", takes_networks=False)]


class Schedule:
    """The folds that are left of each model.

    The first fold of every model comes first: what it takes is what the plan divides the rest of
    the time by. Trainings on all rows come last.

    Parameters
    ----------
    specs : list of ModelSpec
    setting : Setting
    folder : Path
    plan : Plan
    refit : bool
        Whether models that have all their folds are trained on all rows, too.
    """

    def __init__(
        self,
        specs: list[ModelSpec],
        setting: Setting,
        folder: Path,
        plan: Plan,
        refit: bool = False,
    ) -> None:
        self.setting = setting
        self.folder = folder
        self.plan = plan
        self.specs = {spec.name: spec for spec in specs}
        self.lanes = make_lanes(setting.device)
        self.todo: list[tuple[str, int]] = []
        self.running: dict[Lane, tuple[str, int, float]] = {}  # and when it ends at the latest
        self.lengths: dict[str, dict[int, list[int]]] = {spec.name: {} for spec in specs}
        self.first: dict[str, TrainedFold] = {}  # the first fold of each model
        self.n_folds = len(setting.folds)
        for spec in specs:
            self._find_what_is_left(spec)
            if refit:
                self.todo.append((spec.name, setting.all_rows))
        self.todo.sort(key=self._turn)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._worker = Worker(setting)
        self._is_planned = False

    def _turn(self, task):
        """Return what tasks are sorted by: first folds, other folds, all rows."""
        name, number = task
        part = 0 if number == 0 else 1 + (number == self.setting.all_rows)
        return part, list(self.specs).index(name), number

    def _find_what_is_left(self, spec):
        for i in range(self.n_folds):
            path = path_of_fold(self.folder, spec.name, i)
            fold = read_fold(path, self.setting.shapes(i), self.setting.identity(spec))
            if fold is None:
                self.todo.append((spec.name, i))
            else:
                self._note(spec.name, i, fold)

    def _note(self, name, number, fold, limit=None):
        self.plan.record(name, fold.seconds, fold.was_cut, limit)
        if number == 0:
            self.first[name] = fold
        # Where the time ended a training, its length says nothing.
        if number < self.n_folds:
            self.lengths[name][number] = [] if fold.was_cut else fold.lengths

    def run(self) -> None:
        """Train what is left, as far as the time goes; say what is left out.

        Raises
        ------
        KeyboardInterrupt
            When Ctrl-C ends the training; what was trained is kept.
        CompetitionError
            When a file cannot be written, or features take too long.
        """
        self._choose_features()
        try:
            if np.isfinite(self.plan.left()) and not all(self._can_be_cut(t) for t in self.todo):
                self._worker.start()  # it imports while others are trained
            if len(self.lanes) == 1:
                self._work(self.lanes[0])
            else:
                self._work_side_by_side()
        finally:
            self._worker.end()

    def _choose_features(self):
        """Choose the features of every fold that is left, before any model needs them."""
        features = self.setting.features
        if features is None:
            return
        numbers = sorted({number for _, number in self.todo})
        left = self.plan.left()
        for number in numbers:
            names = features.choose(number, self.setting.fold(number))
            where = "All rows" if number == self.n_folds else f"Fold {number + 1}"
            print(f"{where}: features {', '.join(names) or 'none'}.", flush=True)
            expected = features.seconds * len(numbers)
            if number == numbers[0] and expected > _MOST_TIME_OF_FEATURES * left:
                raise CompetitionError(
                    f"--features {features.n_features}: to choose them takes about {expected:.0f} "
                    f"s, and the models have {left:.0f} s; give a longer --time-limit, or fewer "
                    f"folds."
                )

    def _can_be_cut(self, task):
        return self.specs[task[0]].can_be_cut

    # --- one lane, or several at once

    def _work_side_by_side(self):
        with ThreadPoolExecutor(len(self.lanes)) as pool:
            lanes = [pool.submit(self._work, lane) for lane in self.lanes]
            try:
                for lane in as_completed(lanes):
                    lane.result()
            except BaseException:
                self._stop_all()
                raise

    def _stop_all(self):
        self._stop.set()
        self._worker.end()
        with self._changed:
            self._changed.notify_all()

    def _work(self, lane: Lane) -> None:
        """Train what is left on a lane, one after the other."""
        is_cuda = len(self.lanes) > 1 and lane.device.startswith("cuda")
        with torch.cuda.device(lane.device) if is_cuda else contextlib.nullcontext():
            while (task := self._begin(lane)) is not None:
                name, number, share = task
                try:
                    self._train(lane, self.specs[name], number, share)
                finally:
                    with self._changed:
                        del self.running[lane]
                        self._changed.notify_all()

    def _begin(self, lane: Lane) -> tuple[str, int, float] | None:
        """Return the next model of a lane, the fold and its seconds; None where nothing is left."""
        with self._changed:
            while not self._stop.is_set():
                self._say_plan_once()  # which may leave a model out
                if not (names := self._names(lane)):
                    break
                task = next(filter(self._is_ready, self._tasks(lane)), None)
                if task is None:
                    self._changed.wait()
                    continue
                if self._leave_out_what_is_hopeless(task[0], names, lane):
                    continue
                share = self._share(task[0], lane)
                self.todo.remove(task)
                self.running[lane] = (*task, time.monotonic() + share)
                return *task, share
        return None

    def _tasks(self, lane):
        return [task for task in self.todo if lane.takes(self.specs[task[0]])]

    def _names(self, lane):
        return [name for name, _ in self._tasks(lane)]

    def _is_ready(self, task):
        """Return whether all that a training needs is there: the folds, for one on all rows."""
        name, number = task
        under_way = [*self.todo, *(own[:2] for own in self.running.values())]
        return number < self.n_folds or not any(n == name and i < number for n, i in under_way)

    def _share(self, name, lane):
        alike = [other for other in self.lanes if other.takes_networks == lane.takes_networks]
        promised = [
            max(0.0, min(end - time.monotonic(), self.plan.left()))
            for other, (_, _, end) in self.running.items()
            if other in alike and other != lane
        ]
        return self.plan.share(name, self._names(lane), len(alike), sum(promised))

    def _leave_out_what_is_hopeless(self, name: str, names: Sequence[str], lane: Lane) -> bool:
        """Leave one model out where the folds that are left cannot be trained in time."""
        share = self._share(name, lane)
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

    def _leave_out_what_adds_nothing(self) -> None:
        """Leave out models that are cut short and that a blend of the first folds has no use for.

        The worst goes first: the others get its time. One that now has much more of it than in its
        first fold may become another, and stays.
        """
        first = {name: fold for name, fold in self.first.items() if np.isfinite(fold.score)}
        rows = self.setting.folds[0][1]
        weights = greedy_weights_of(
            {name: fold.oof for name, fold in first.items()},
            self.setting.tables.y[rows],
            self.setting.metric,
        )
        useless = [name for name, weight in weights.items() if weight == 0 and first[name].was_cut]
        for name in sorted(useless, key=lambda name: first[name].score):
            lane = next(lane for lane in self.lanes if lane.takes(self.specs[name]))
            names = self._names(lane)
            if name in names and self._share(name, lane) < _MUCH_LONGER * first[name].seconds:
                self._leave_out(
                    name,
                    f"cut short in its first fold, it scores {first[name].score:.5f} and adds "
                    f"nothing to the other models",
                )

    def _leave_out(self, name, reason):
        self.todo = [task for task in self.todo if task[0] != name]
        done = len(self.lengths[name])
        what = f"left out ({done} of {self.n_folds} folds done)"
        what = _NOT_REFITTED if done == self.n_folds else what
        print(f"{name} is {what}: {reason}.", flush=True)

    def _say_plan_once(self) -> None:
        """Say what the folds that are left will take, once the first ones are done."""
        if self._is_planned or any(number == 0 for _, number in self.todo):
            return
        self._is_planned = True
        if not np.isfinite(self.plan.left()):
            return
        self._leave_out_what_adds_nothing()
        parts = []
        for name in dict.fromkeys(name for name, _ in self.todo):
            lane = next(lane for lane in self.lanes if lane.takes(self.specs[name]))
            n_folds = self._names(lane).count(name)
            share = self._share(name, lane)
            expected = self.plan.expected(name)
            if expected <= share:
                parts.append(f"{name} {n_folds} × {expected:.1f} s")
            else:
                parts.append(f"{name} {n_folds} × {share:.1f} s, cut short")
        if parts:
            minutes = self.plan.left() / 60
            print(f"Plan for the {minutes:.1f} minutes left: {'; '.join(parts)}.", flush=True)

    # --- one fold

    def _train(self, lane: Lane, spec: ModelSpec, number: int, share: float) -> None:
        limit = self.plan.limit(spec.name, share) if np.isfinite(share) else None
        lengths = self._lengths(spec.name) if number == self.n_folds else []
        identity, path = self._place(spec, number, lengths)
        if number == self.n_folds and read_fold(path, self.setting.shapes(number), identity):
            return
        try:
            if limit is None or spec.can_be_cut:
                fold = self._train_here(lane, spec, number, limit, lengths)
            else:
                left = self.plan.left()
                fold = self._worker.train(spec, number, share, left, with_importances=number == 0)
            if self._stop.is_set():
                return
            if number < self.n_folds:  # a refit is of all folds as they are
                path_of_refit(self.folder, spec.name).unlink(missing_ok=True)
            write_fold(path, fold, identity)
        except (CompetitionError, KeyboardInterrupt):
            raise
        except TimeIsOver:
            with self._changed:
                self._leave_out(spec.name, f"a fold takes more than the {share:.1f} s left for it")
        except Exception as error:
            self._fail(spec.name, number, error)
        else:
            with self._changed:
                self._note(spec.name, number, fold, limit)
            self._say(spec.name, number, fold)

    def _train_here(self, lane, spec, number, limit, lengths):
        setting = replace(self.setting, device=lane.device)
        stop = self._stop if len(self.lanes) > 1 else None
        first = number == 0
        return train_fold(spec, number, setting, limit, first, lengths=lengths, stop=stop)

    def _place(self, spec, number, lengths):
        """Return what a file of predictions is trained from, and its path."""
        identity = self.setting.identity(spec)
        if number < self.n_folds:
            return identity, path_of_fold(self.folder, spec.name, number)
        return identity | {"lengths": lengths}, path_of_refit(self.folder, spec.name)

    def _lengths(self, name):
        """Return the epochs or trees of a training on all rows, the median of the folds, for each
        target; an empty list where a fold has none."""
        lengths = list(self.lengths[name].values())
        if not all(lengths):
            return []
        return [max(1, round(float(np.median(own)))) for own in zip(*lengths, strict=True)]

    def _fail(self, name, number, error):
        if self._stop.is_set():
            return
        lines = str(error).strip().splitlines() or [""]
        what = "left out" if number < self.n_folds else _NOT_REFITTED
        text = f"{name} failed and is {what}: {type(error).__name__}: {lines[0][:300]}"
        print(text, file=sys.stderr, flush=True)
        with self._changed:
            self.todo = [task for task in self.todo if task[0] != name]

    def _say(self, name: str, number: int, fold: TrainedFold) -> None:
        cut = ", cut by the time limit" if fold.was_cut else ""
        what = f"fold {number + 1} of {self.n_folds}: score {fold.score:.5f}"
        if number == self.n_folds:
            what = "refit on all rows"
        print(f"{name}, {what}, {fold.seconds:.1f} s{cut}", flush=True)


def train_models(
    specs: list[ModelSpec],
    setting: Setting,
    folder: Path,
    seconds: float,
    tune: float,
    refit: bool = False,
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
    refit : bool
        Whether to train on all rows, too.

    Raises
    ------
    CompetitionError
        When a file cannot be written.
    """
    plan = Plan(seconds)
    for spec in specs:  # what cannot be made is said before anything is trained
        spec.make(setting.tables.X, setting.metric.is_regression, "cpu", setting.n_jobs, Clock())
    try:
        if tune > 0:
            on_first = replace(setting, device=find_devices(setting.device)[0])
            specs = tune_models(specs, on_first, folder, min(tune, plan.left()))
        Schedule(specs, setting, folder, plan, refit).run()
    except KeyboardInterrupt:
        print(
            "Interrupted; the blend is of the models that are done, and the same command goes on "
            "with the others.",
            flush=True,
        )
