"""The stage tune: Optuna's TPE on the validation score, a trial at a time, by any number of
workers.

The study lives in a journal in the results folder, or in a database. A trial of a worker that was
killed is found (by its file lock, or by the database's heartbeat) and done again with the same
parameters. With one worker the search is the same whether it was killed or not: the sampler of the
trial at place n is seeded with n.
"""

import json
import re
import time
import uuid
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import optuna
import pandas as pd
from filelock import FileLock, Timeout
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from benchmarks.tables.datasets import load
from benchmarks.errors import HarnessError, told
from benchmarks.files import locked
from benchmarks.runs.metrics import metrics, predictions
from benchmarks.models.registry import MODELS
from benchmarks.runs.results import done, read, write

optuna.logging.set_verbosity(optuna.logging.ERROR)
FIT_SEED = 0
SEEDS_APART = 1_000_003
"""Between the samplers of two searches; a trial adds its place."""
WORKER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.lock")
"""The names of workers' locks: a UUID each."""


@dataclass(frozen=True)
class Search:
    """How to search.

    Attributes
    ----------
    n_trials : int or None
        At most so many, with ``hours``; None where it is not known yet.
    prune : bool
        Whether Optuna's median pruner ends poor trials. The paper's protocol does not.
    seed : int
        Of the sampler.
    storage : str or None
        An Optuna storage URL, for workers on several machines; None: a journal in the results
        folder.
    heartbeat_s : int
        Seconds between a worker's signs of life in a database; after two without one its trial is
        given to another.
    hours : float or None
        Of trials that have ended, one worker's after another's, after which no other begins. The
        work of a trial that was killed does not count.
    """

    n_trials: int | None
    prune: bool = False
    seed: int = 0
    storage: str | None = None
    heartbeat_s: int = 60
    hours: float | None = None


class _Surplus(Exception):
    """A trial that was begun when there were enough already."""


def identity(experiment, search):
    """Return what a finished search must agree in."""
    own = {"stage": "tuning", "n_trials": search.n_trials, "prune": search.prune}
    hours = {} if search.hours is None else {"hours": search.hours}
    return experiment.identity() | own | {"search_seed": search.seed} | hours


def study_folder(experiment):
    """Return where the journal and the workers' locks are."""
    return experiment.folder / "study"


def study_name(experiment, search):
    """Return the study's name in a storage; other data or another version is another study."""
    name = experiment.identity()
    checksums = name["checksums"]
    return (
        f"tabdl {name['tabdl']} {experiment.source.name} {experiment.name} {experiment.protocol} "
        f"seed {search.seed} {checksums['data'][:12]} {checksums['split'][:12]}"
    )


@lru_cache(maxsize=1)
def open_study(experiment, search):
    """Return the study, a new one or the one that is there.

    Raises
    ------
    HarnessError
        When the database cannot be reached or the journal is damaged.
    """
    pruners = optuna.pruners
    how = {
        "study_name": study_name(experiment, search),
        "direction": "maximize",
        "pruner": pruners.MedianPruner(n_warmup_steps=10) if search.prune else pruners.NopPruner(),
        "load_if_exists": True,
    }
    if search.storage is not None:
        storage = open_database(search)
        with _database_errors():
            return optuna.create_study(storage=storage, **how)
    path = study_folder(experiment) / "journal.log"
    # Whatever Optuna makes of a line that it did not write.
    advice = ". Remove its folder, or repeat the search with --force."
    with told(f"{path} is damaged or cannot be written", Exception, advice=advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")  # the system releases it when its process dies
        journal = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        return optuna.create_study(storage=journal, **how)


def _database_errors():
    """Turn whatever a database's driver raises into the harness's error."""
    advice = ". --storage takes the URL of a database, such as postgresql+psycopg://host:5432/name"
    return told("the study cannot be opened", Exception, advice=advice)


def open_database(search):
    """Return the storage at the URL of a search.

    Raises
    ------
    HarnessError
        When the URL is none, or the database cannot be reached.
    """
    with _database_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            search.storage,
            heartbeat_interval=search.heartbeat_s,
            grace_period=2 * search.heartbeat_s,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
        )


def counted(study):
    """Return the trials that count towards the number asked for: not those that were killed, nor
    those that were too many."""
    trials = study.get_trials(deepcopy=False)
    return [t for t in trials if t.state != TrialState.FAIL or "error" in t.user_attrs]


def has_enough(trials, search):
    """Whether trials that count are as many as were asked for, or took the hours that were."""
    if len(trials) >= search.n_trials:
        return True
    seconds = sum(trial.user_attrs.get("seconds", 0) for trial in trials)
    return search.hours is not None and seconds >= 3600 * search.hours


def run_trial(experiment, search):
    """Do one trial if there are not enough yet; return its number, None if there was nothing to
    do."""
    if read(experiment.folder / "tuning") is not None:
        return None
    study = open_study(experiment, search)
    with _claimed(experiment, search) as claim:
        retry_killed(experiment, study, search)
        if has_enough(counted(study), search) and not is_waiting(study):
            return None
        objective = _Objective(experiment, search, claim)
        study.optimize(objective, n_trials=1, catch=(Exception,))
    return objective.number


def is_waiting(study):
    """Whether a trial of a worker that was killed is to be done again."""
    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


@contextmanager
def _claimed(experiment, search):
    """Yield the lock under which a worker of a journal begins a trial; None for a database, where
    heartbeats do that."""
    if search.storage is not None:
        yield None
        return
    with FileLock(study_folder(experiment) / "claim.lock") as claim:
        yield claim


def retry_killed(experiment, study, search):
    """Give trials whose worker is dead back to the queue, with their parameters."""
    if search.storage is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        return
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not is_alive(study_folder(experiment), trial.user_attrs.get("worker")):
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, UpdateFinishedTrialError):
                continue  # it ended just now
            if "config" in trial.user_attrs:
                study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})


def is_alive(folder, worker):
    """Whether a process holds the lock of a worker.

    A trial that names no worker was begun by one that died at once. A journal may be a stranger's:
    a name that no worker of ours has is never opened, let alone removed.
    """
    if not isinstance(worker, str) or not WORKER.fullmatch(worker):
        return False
    path = folder / worker
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)
    except Timeout:
        return True
    return False


class _Objective:
    """One trial: parameters, fit, validation score. It sees no test rows: there are none in what it
    is given."""

    def __init__(self, experiment, search, claim):
        self.experiment, self.search, self.claim = experiment, search, claim
        self.number, self.was_pruned = None, False

    def __call__(self, trial):
        with self._alive(trial):
            place = sum(t.number < trial.number for t in counted(trial.study))
            if place >= self.search.n_trials:
                raise _Surplus
            self.number = trial.number
            data = load(self.experiment.source).search_data
            # Univariate, as the paper's: Optuna's default has become another.
            seed = self.search.seed * SEEDS_APART + place
            trial.study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=False)
            config = MODELS[self.experiment.model].space(trial, data)
            trial.set_user_attr("config", config)
            if self.claim is not None:
                self.claim.release(force=True)  # the next worker may begin
            return self._score(trial, data, config)

    @contextmanager
    def _alive(self, trial):
        """Hold a lock of this worker, named in the trial."""
        if self.claim is None:
            yield
            return
        path = study_folder(self.experiment) / f"{uuid.uuid4()}.lock"
        with FileLock(path):
            trial.set_user_attr("worker", path.name)
            yield
        path.unlink(missing_ok=True)

    def _score(self, trial, data, config):
        start = time.perf_counter()
        here = self.experiment
        model = MODELS[here.model]
        parameters = model.parameters(data, here.config, here.protocol) | config
        if here.variant is not None:
            parameters |= here.variant.parameters
        try:
            pruning = self._pruning(trial)
            fit = model.fit(data, parameters, FIT_SEED, here.device, here.time_limit, pruning)
            score = metrics(data.val[1], predictions(fit, data.val[0]), fit.classes)["score"]
        except Exception as error:
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            raise
        finally:
            trial.set_user_attr("seconds", time.perf_counter() - start)
        trial.set_user_attr("n_iter", fit.n_iter)
        trial.set_user_attr("best_iter", fit.best_iter)
        if self.was_pruned:
            raise optuna.TrialPruned
        if not np.isfinite(score):
            trial.set_user_attr("error", f"the validation score is {score}")
        return score

    def _pruning(self, trial):
        if not self.search.prune:
            return None

        def should_prune(step, score):
            trial.report(score, step)
            self.was_pruned = trial.should_prune()
            return self.was_pruned

        return should_prune


def finish(experiment, search, poll_s=0.5):
    """Return the report of a search that has its trials, waiting for those of other commands; None
    if trials are missing.

    Raises
    ------
    HarnessError
        When no trial has a score, or the folder holds another search.
    """
    asked = identity(experiment, search)
    while True:
        report = done(experiment.folder / "tuning", asked)
        if report is not None:
            return report
        study = open_study(experiment, search)
        with _claimed(experiment, search):
            retry_killed(experiment, study, search)
            trials = counted(study)
        if not has_enough(trials, search) or is_waiting(study):
            return None
        if all(trial.state.is_finished() for trial in trials):
            with locked(experiment.folder / "tuning"):
                if done(experiment.folder / "tuning", asked) is None:
                    _write(experiment, asked, study, trials)
            continue
        time.sleep(poll_s)


def _write(experiment, asked, study, trials):
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        errors = sorted({trial.user_attrs.get("error", trial.state.name) for trial in trials})
        raise HarnessError(
            f"{experiment.folder}: none of {len(trials)} trials has a score: "
            f"{'; '.join(errors)[:500]}"
        )
    best = max(complete, key=lambda trial: (trial.value, -trial.number))
    trials = sorted(trials, key=lambda trial: trial.number)
    table = trial_table(trials)
    retried = [t for t in trials if "retry_of" in t.user_attrs or "failed_trial" in t.system_attrs]
    place = {"number": trials.index(best), "val_score": best.value}
    report = {
        "identity": asked,
        "parameters": best.user_attrs["config"],
        "best": place | {"best_iter": best.user_attrs["best_iter"]},
        "trials": table["state"].value_counts().to_dict() | {"RETRIED": len(retried)},
        "seconds": {"fit": float(table["seconds"].sum())},
    }
    write(experiment.folder / "tuning", report, {"trials.parquet": table.to_parquet})


def trial_table(trials):
    """Return a line for each trial, in their order: number, state, value, seconds, epochs, start
    and parameters.

    The number counts the given trials. Optuna's own number counts killed trials too, so it
    depends on how often the command was killed.
    """
    lines = [
        {
            "number": place,
            "state": trial.state.name,
            "value": trial.value,
            "seconds": trial.user_attrs.get("seconds", np.nan),
            "n_iter": trial.user_attrs.get("n_iter"),
            "started": trial.datetime_start,
            "config": json.dumps(trial.user_attrs.get("config")),
            "error": trial.user_attrs.get("error"),
        }
        for place, trial in enumerate(trials)
    ]
    return pd.DataFrame(lines).astype({"value": float, "seconds": float})
