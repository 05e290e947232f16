"""What each subcommand does: tasks for an executor, in an order in which each finds what it
needs."""

import importlib.util
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import optuna

from benchmarks.runs import ensemble as ensembles, tune as tuning
from benchmarks.tables.datasets import load
from benchmarks.runs.display import Display
from benchmarks.errors import HarnessError, told
from benchmarks.runs.evaluate import Share, evaluate as evaluate_one, folder_of
from benchmarks.runs.executors import Executor
from benchmarks.files import locked
from benchmarks.models.registry import MODELS
from benchmarks.runs.results import Experiment, run_name


MOST_TRIALS = 10_000
"""Of a search that its hours end: what fails at once does so for ever."""
ROUND = 100
"""Tasks of such a search that are begun before its hours are looked at again."""


@dataclass
class Plan:
    """What the command line asks for, and what went wrong on the way.

    Attributes
    ----------
    experiments : list of Experiment
    seeds : list of int
    search : Search
        Without a number of trials: the paper's; with ``hours``, :data:`MOST_TRIALS`.
    executor : Executor
    display : Display
    failures : dict
        From what failed to why; the other runs go on.
    """

    experiments: list[Experiment]
    seeds: list[int]
    search: tuning.Search
    executor: Executor
    display: Display
    failures: dict = field(default_factory=dict)

    def going(self):
        """Return the experiments that nothing has happened to."""
        return [experiment for experiment in self.experiments if not self.has_failed(experiment)]

    def fail(self, name, reason):
        """Keep why something failed, and say it at once: the rest may take hours."""
        self.failures[name] = reason
        print(f"failed: {name}: {reason}", file=sys.stderr, flush=True)

    @contextmanager
    def failing(self, experiment):
        """Keep a HarnessError of the block as why an experiment failed."""
        try:
            yield
        except HarnessError as error:
            self.fail(_name(experiment), str(error))

    def has_failed(self, experiment):
        """Return whether something has happened to an experiment."""
        return _name(experiment) in self.failures


def _name(experiment):
    return f"{experiment.source.name} {experiment.name}"


def check(plan, stages):
    """Raise HarnessError for what cannot work, before anything is trained."""
    for source in {e.source for e in plan.experiments if e.source.data is not None}:
        load(source)
    is_search = "tune" in stages and any(e.config == "tuned" for e in plan.experiments)
    if is_search and plan.search.storage is not None:
        tuning.open_database(plan.search)
    needed = ("matplotlib", "scikit_posthocs", "pyarrow")
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if "report" in stages and absent:
        raise HarnessError(
            f"the stage report needs {', '.join(absent)}: pip install 'tabdl[bench]'"
        )
    for experiment in plan.experiments:
        missing = MODELS[experiment.model].missing()
        if missing and stages != ("report",):
            plan.fail(_name(experiment), missing)
        elif experiment.variant is not None:
            MODELS[experiment.model].check_parameters(experiment.variant)


def tune(plan):
    """Search the best configuration of every experiment whose configuration is to be searched."""
    searches = {}
    for experiment in plan.going():
        if experiment.config == "tuned":
            with plan.failing(experiment):
                searches[experiment] = _search(plan, experiment)
    while searches:
        _trials(plan, searches)
        for experiment, search in list(searches.items()):
            report = None
            with plan.failing(experiment):
                report = None if plan.has_failed(experiment) else tuning.finish(experiment, search)
            if report is not None:
                best = report["best"]["val_score"]
                number = sum(report["trials"].values()) - report["trials"].get("RETRIED", 0)
                line = f"best of {number} trials {best:.4f} (validation)"
                plan.display.say(f"{_name(experiment)}: {line}")
            if report is not None or plan.has_failed(experiment):
                del searches[experiment]


def _search(plan, experiment):
    model = MODELS[experiment.model]
    if model.space is None:
        raise HarnessError(
            f"{experiment.model} has no search space in benchmarks/models/registry.py: "
            f"use --config default"
        )
    n_trials = plan.search.n_trials or (MOST_TRIALS if plan.search.hours else None)
    if n_trials is None:
        n_trials = model.n_trials(load(experiment.source).search_data)
    return replace(plan.search, n_trials=n_trials)


def _trials(plan, searches):
    """Run as many tasks as there are trials to do; a task that finds nothing to do ends at once."""
    tasks = [
        (e, partial(tuning.run_trial, e, search))
        for e, search in searches.items()
        for _ in range(search.n_trials if search.hours is None else min(search.n_trials, ROUND))
    ]
    for i, number, error in run_all(plan, [(f"{_name(e)} trial", e, task) for e, task in tasks]):
        name = _name(tasks[i][0])
        if error is not None:
            plan.fail(name, error)
        elif number is not None:
            plan.display.say(f"{name}: trial {number}")


def run_all(plan, tasks):
    """Yield (i, result, error) of each task as it ends, and show what is running.

    ``tasks`` are (name, experiment, function).
    """
    limits = [experiment.time_limit for _, experiment, _ in tasks]
    plan.display.begin([name for name, _, _ in tasks], limits, "tasks")
    for i, result, error in plan.executor.run([call for _, _, call in tasks], plan.display.start):
        plan.display.end(i)
        yield i, result, error


def evaluate(plan):
    """Fit every experiment with every seed."""
    evaluate_runs(plan, [(experiment, seed) for experiment in plan.going() for seed in plan.seeds])


def evaluate_runs(plan, tasks):
    """Fit (experiment, seed), each of a list."""
    tasks = sorted(tasks, key=lambda task: _weight(task[0]))  # what the quick ones leave
    named = [
        (f"{_name(e)} seed {seed}", e, partial(evaluate_one, e, seed, share))
        for (e, seed), share in zip(tasks, _shares(tasks, plan.executor.workers), strict=True)
    ]
    for i, report, error in run_all(plan, named):
        experiment, seed = tasks[i]
        if error is not None:
            plan.fail(_name(experiment), error)
            continue
        score = report["metrics"]["test"]["score"]
        cut = " (cut)" if report["hit_time_limit"] else ""
        note = "found" if report["was_there"] else f"{report['seconds']['fit']:.1f} s"
        plan.display.say(f"{_name(experiment)} seed {seed}: {score:.4f}{cut}, {note}")


def _weight(experiment):
    """Return the weight of an experiment among those that share their time; 0 for others."""
    return MODELS[experiment.model].weight if experiment.shares_time else 0


def _shares(tasks, n_workers):
    """Return the share of time of each task; None where it has its own time limit."""
    total = sum(e.time_limit for e, _ in tasks if e.shares_time)
    weights = [_weight(e) for e, _ in tasks]
    end = time.time() + total / n_workers
    return [
        Share(end, min(1.0, n_workers * weight / sum(weights[i:]))) if weight else None
        for i, weight in enumerate(weights)
    ]


def ensemble(plan):
    """Average the seeds of every experiment in disjoint fives; and choose greedily among all models
    of a dataset."""
    fives = ensembles.groups(plan.seeds)
    tasks = [
        (_name(e), partial(ensembles.average, e, i, seeds))
        for e in plan.going()
        for i, seeds in enumerate(fives)
    ]
    for source in dict.fromkeys(e.source for e in plan.going()):
        models = [e for e in plan.going() if e.source == source]
        if len(models) > 1:
            tasks += [
                (f"{source.name} {ensembles.GREEDY}", partial(ensembles.greedy, models, i, seeds))
                for i, seeds in enumerate(fives or [tuple(plan.seeds)])
            ]
    if not tasks and plan.going():
        raise HarnessError(
            "nothing to average: an ensemble is of five seeds (--seeds 0 1 2 3 4), a greedy "
            "one of two models or more"
        )
    for name, task in tasks:
        try:
            plan.display.say(f"{name} ensemble: {task()['metrics']['test']['score']:.4f}")
        except HarnessError as error:
            plan.fail(name, str(error))


def remove(plan, stages):
    """Remove what the stages would find done: ``--force``."""
    for experiment in plan.experiments:
        if "tune" in stages and experiment.config == "tuned":
            if plan.search.storage is not None:
                _remove_study(plan, experiment)
            _remove(experiment.folder / "tuning", tuning.study_folder(experiment))
        if "evaluate" in stages:
            remove_runs((experiment, seed) for seed in plan.seeds)
        if {"evaluate", "ensemble"} & set(stages):  # an ensemble does not outlive its members
            greedy = experiment.folder.parent / run_name(ensembles.GREEDY, experiment.config)
            _remove(experiment.folder / "ensemble", greedy / "ensemble")


def remove_runs(runs):
    """Remove the directories of (experiment, seed)."""
    _remove(*(folder_of(*run) for run in runs))


def _remove(*folders):
    for folder in folders:
        if folder.exists():
            with locked(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _remove_study(plan, experiment):
    name = tuning.study_name(experiment, plan.search)
    with told("the study cannot be deleted", Exception), suppress(KeyError):
        optuna.delete_study(study_name=name, storage=plan.search.storage)
