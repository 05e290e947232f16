"""The search: nothing lost, nothing repeated, no test labels, any storage."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest
from filelock import FileLock

from benchmarks import run
from benchmarks.errors import HarnessError
from benchmarks.models.registry import MODELS
from benchmarks.runs import tune
from benchmarks.runs.results import Experiment, read
from benchmarks.runs.tune import Search, finish, open_study, run_trial
from benchmarks.tables.datasets import Source, load
from benchmarks.tables.splits import SearchData

ROOT = Path(__file__).parent.parent.parent
HOUSING = Source("smoke_housing")


def experiment(out, model="xgboost", source=HOUSING):
    return Experiment(source, model, "tuned", "cpu", None, str(out))


def set_space(monkeypatch, model, space):
    """Give a model another search space."""
    monkeypatch.setitem(MODELS, model, replace(MODELS[model], space=space))


@pytest.fixture
def few_trees(monkeypatch):
    """Searches that give the same again: no time limit has a say."""
    space = MODELS["xgboost"].space
    set_space(monkeypatch, "xgboost", lambda trial, data: space(trial, data) | {"n_estimators": 3})


def search(here, how):
    """Do a whole search in this process."""
    open_study.cache_clear()
    while run_trial(here, how) is not None:
        pass
    return finish(here, how)


def trials_of(here):
    return pd.read_parquet(here.folder / "tuning" / "trials.parquet")


def begin(out, storage=None, n_trials=40):
    """Start a worker: the stage tune in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.run",
        "tune",
        "--datasets",
        "smoke_housing",
        "--models",
        "xgboost",
        "--out",
        out,
    ]
    command += [
        "--config",
        "tuned",
        "--trials",
        str(n_trials),
        "--time-limit",
        "0.1",
        "--device",
        "cpu",
    ]
    command += ["--storage", storage] if storage else []
    settings = {"cwd": ROOT, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **settings,
    )


def end(process):
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output


def n_lines(path, text):
    return path.read_text().count(text) if path.exists() else 0


def test_forty_trials_and_a_worker_killed_three_times(tmp_path):
    here = experiment(tmp_path)
    journal = here.folder / "study" / "journal.log"
    survivor, victim = begin(tmp_path), begin(tmp_path)
    for n_begun in (5, 15, 25):
        while n_lines(journal, '"config"') < n_begun:
            assert survivor.poll() is None, survivor.communicate()[0]
            time.sleep(0.01)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        victim = begin(tmp_path)
    end(survivor), end(victim)
    trials = trials_of(here)
    assert (
        len(trials) == 40
        and (trials["state"] == "COMPLETE").all()
        and trials["value"].notna().all()
    )
    assert trials["config"].nunique() == 40
    assert trials["number"].tolist() == list(range(40))
    # What was running when its worker died was done again with the same parameters.
    study = open_study(here, Search(40))
    killed = [
        t
        for t in study.get_trials()
        if t.state == optuna.trial.TrialState.FAIL and "config" in t.user_attrs
    ]
    retried = {
        t.user_attrs["retry_of"]: t.user_attrs["config"]
        for t in study.get_trials()
        if "retry_of" in t.user_attrs
    }
    assert {t.number: t.user_attrs["config"] for t in killed} == retried
    assert not list((here.folder / "study").glob("*-*.lock"))


def test_the_report_of_a_search(tmp_path, few_trees):
    report = search(experiment(tmp_path), Search(5))
    trials = trials_of(experiment(tmp_path))
    best = trials.loc[trials["value"].idxmax()]
    assert (
        report["parameters"] == json.loads(best["config"])
        and report["best"]["val_score"] == best["value"]
    )
    assert report["trials"] == {"COMPLETE": 5, "RETRIED": 0}
    assert read(experiment(tmp_path).folder / "tuning")["identity"]["n_trials"] == 5
    with pytest.raises(HarnessError, match="n_trials is 5 there, 9 here"):
        finish(experiment(tmp_path), Search(9))


def test_the_same_search_gives_the_same_trials(tmp_path, few_trees):
    for name in "ab":
        search(experiment(tmp_path / name), Search(13))  # TPE begins after ten
    a, b = (trials_of(experiment(tmp_path / name)) for name in "ab")
    assert (
        a["config"].tolist() == b["config"].tolist() and a["value"].tolist() == b["value"].tolist()
    )


def test_a_trial_that_fails_is_counted_and_told(tmp_path, monkeypatch):
    def sometimes(trial, data):
        return {"max_depth": -1 if trial.number % 2 else 3, "n_estimators": 5}

    set_space(monkeypatch, "xgboost", sometimes)
    report = search(experiment(tmp_path / "some"), Search(4))
    assert report["trials"] == {"COMPLETE": 2, "FAIL": 2, "RETRIED": 0}
    assert trials_of(experiment(tmp_path / "some"))["error"].str.contains("max_depth").sum() == 2
    set_space(monkeypatch, "xgboost", lambda trial, data: {"max_depth": -1})
    with pytest.raises(HarnessError, match="none of 2 trials has a score: .*max_depth"):
        search(experiment(tmp_path / "none"), Search(2))


def test_hours_end_a_search(tmp_path, few_trees):
    """The first trials are those of a search by number, and the one that runs last is finished."""
    here, how = experiment(tmp_path / "hours"), Search(1000, hours=0.3 / 3600)
    report, trials = search(here, how), trials_of(here)
    assert len(trials) < 1000 and trials["seconds"].sum() >= 0.3 > trials["seconds"][:-1].sum()
    assert report["identity"]["hours"] == how.hours
    assert "hours" not in tune.identity(here, Search(1000))
    search(experiment(tmp_path / "number"), Search(3))
    n = min(3, len(trials))  # a busy machine does fewer
    number = trials_of(experiment(tmp_path / "number"))["config"].tolist()
    assert number[:n] == trials["config"][:n].tolist()
    with pytest.raises(HarnessError, match="hours is"):
        finish(here, Search(1000, hours=1.0))


def test_what_was_killed_takes_no_hours(tmp_path, few_trees):
    """A trial whose worker is gone is done again, whatever the hours say then."""
    here, how = experiment(tmp_path), Search(1000, hours=0.2 / 3600)
    open_study.cache_clear()
    run_trial(here, how)
    study = open_study(here, how)
    killed = study.ask()
    config = MODELS["xgboost"].space(killed, load(here.source).search_data)
    killed.set_user_attr("config", config)
    report = search(here, how)
    assert report["trials"]["RETRIED"] == 1
    assert report["seconds"]["fit"] == trials_of(here)["seconds"].sum() >= 0.2
    assert json.dumps(config) in trials_of(here)["config"].tolist()


def test_failures_take_hours_too(tmp_path, monkeypatch):
    set_space(monkeypatch, "xgboost", lambda trial, data: {"max_depth": -1})
    with pytest.raises(HarnessError, match="trials has a score: .*max_depth"):
        search(experiment(tmp_path), Search(10_000, hours=0.05 / 3600))


def test_hours_of_the_command(tmp_path, few_trees, capsys):
    command = ["tune", "--datasets", "smoke_housing", "--models", "xgboost", "--config", "tuned"]
    command += ["--device", "cpu", "--hours", "0.001", "--trials", "4", "--search-seed", "2"]
    assert run.main([*command, "--out", str(tmp_path)]) == 0
    assert "best of 4 trials" in capsys.readouterr().out
    found = read(
        Experiment(HOUSING, "xgboost", "tuned", "cpu", 100.0, str(tmp_path)).folder / "tuning"
    )
    assert (found["identity"]["hours"], found["identity"]["search_seed"]) == (0.001, 2)


def test_a_search_sees_no_test_rows(tmp_path, monkeypatch, few_trees):
    seen = []
    original = MODELS["xgboost"].train

    def train(make, data, *args):
        seen.append(data)
        return original(make, data, *args)

    monkeypatch.setitem(MODELS, "xgboost", replace(MODELS["xgboost"], train=train))
    search(experiment(tmp_path), Search(1))
    assert [type(data) for data in seen] == [SearchData] and not hasattr(seen[0], "test")


def test_hopeless_trials_are_pruned(tmp_path, monkeypatch):
    """After five good trials, ones with a learning rate of nearly nothing."""
    rates = iter([0.3] * 5 + [1e-5] * 3)
    set_space(
        monkeypatch,
        "xgboost",
        lambda trial, data: {"learning_rate": next(rates), "n_estimators": 60},
    )
    report = search(experiment(tmp_path), Search(8, prune=True))
    assert report["trials"] == {"COMPLETE": 5, "PRUNED": 3, "RETRIED": 0}
    assert trials_of(experiment(tmp_path))["n_iter"].max() == 60


def test_nets_are_pruned_too(tmp_path, monkeypatch):
    rates = iter([1e-3] * 5 + [1e-9])
    set_space(
        monkeypatch,
        "mlp",
        lambda trial, data: {"lr": next(rates), "max_epochs": 20, "d_block": 16, "n_blocks": 1},
    )
    assert search(experiment(tmp_path, "mlp"), Search(6, prune=True))["trials"]["PRUNED"] == 1


@pytest.mark.parametrize("model", [name for name in MODELS if MODELS[name].space])
@pytest.mark.parametrize("dataset", ["smoke_housing", "smoke_adult"])
def test_every_space_gives_a_configuration_that_fits(model, dataset):
    data = load(Source(dataset)).search_data
    for seed in range(2):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        config = MODELS[model].space(study.ask(), data)
        parameters = MODELS[model].parameters(data, "tuned", "plain") | config
        if model == "node":
            parameters["d_block"] = 8  # of hundreds of trees, whose first step takes minutes
        assert MODELS[model].fit(data, parameters, 0, "cpu", 0.05).n_iter > 0
    assert MODELS[model].n_trials(data) == {"node": 25}.get(model, 100)


def test_a_damaged_journal_is_named(tmp_path, few_trees):
    here = experiment(tmp_path)
    search(here, Search(1))
    shutil.rmtree(here.folder / "tuning")
    (here.folder / "study" / "journal.log").write_text('{"op_code": \n{}\n')
    open_study.cache_clear()
    with pytest.raises(HarnessError, match=r"study/journal.log is damaged .*--force"):
        run_trial(here, Search(2))


def test_a_journal_removes_no_files_of_the_user(tmp_path):
    """Its trials name their workers' locks; a stranger's may name anything."""
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    lock = "01234567-89ab-cdef-0123-456789abcdef.lock"
    (tmp_path / lock).symlink_to(mine)
    for worker in ("mine.txt", "../mine.txt", str(mine), lock, 5, None):
        assert not tune.is_alive(tmp_path, worker)
    assert mine.read_text() == "mine"
    lock = lock.replace("0", "1")
    (tmp_path / lock).touch()
    with FileLock(tmp_path / lock):
        assert tune.is_alive(tmp_path, lock)
    assert not tune.is_alive(tmp_path, lock) and not (tmp_path / lock).exists()


def test_a_damaged_report_of_a_search_is_made_again(tmp_path, few_trees, capsys):
    here = experiment(tmp_path)
    best = search(here, Search(2))["best"]
    (here.folder / "tuning" / "report.json").write_text("")
    assert search(here, Search(2))["best"] == best
    assert "tuning/report.json is damaged" in capsys.readouterr().err


def test_a_database_that_is_not_there(tmp_path, capsys):
    command = [
        "tune",
        "--datasets",
        "smoke_housing",
        "--models",
        "xgboost",
        "--config",
        "tuned",
        "--trials",
        "1",
    ]
    assert (
        run.main(
            [
                *command,
                "--out",
                str(tmp_path),
                "--storage",
                f"sqlite:///{tmp_path}/no/such/folder.db",
            ]
        )
        == 1
    )
    assert "error: the study cannot be opened: OperationalError" in capsys.readouterr().err


def postgres_programs():
    found = (
        sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if Path("/usr/lib/postgresql").exists()
        else []
    )
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).parent if on_path else None


@pytest.fixture
def postgres(tmp_path_factory):
    """The URL of a real PostgreSQL server, started for the test; it does not run as root, so
    another user owns it then."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        user = "nobody" if getpass.getuser() == "root" else getpass.getuser()
        shutil.chown(name, user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def as_user(*command):
            subprocess.run(
                ["setpriv", "--reuid", user, "--clear-groups", *command]
                if user == "nobody"
                else command,
                **quiet,
            )

        quiet = {
            "check": True,
            "cwd": "/",
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        as_user(programs / "initdb", "-D", f"{name}/db", "-U", "tabdl", "--auth", "trust")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={name}"
        as_user(
            programs / "pg_ctl",
            "-D",
            f"{name}/db",
            "-w",
            "-o",
            options,
            "-l",
            f"{name}/log",
            "start",
        )
        try:
            yield f"postgresql+psycopg://tabdl@127.0.0.1:{port}/postgres"
        finally:
            as_user(programs / "pg_ctl", "-D", f"{name}/db", "-m", "immediate", "stop")


def test_postgresql_shares_a_study(tmp_path, postgres):
    """Two workers with folders of their own, as on two machines; one is killed, the heartbeat gives
    its trial to the other."""
    here, how = (
        replace(experiment(tmp_path / "a"), time_limit=0.1),
        Search(8, storage=postgres, heartbeat_s=1),
    )
    victim = begin(tmp_path / "b", postgres, n_trials=8)
    study = None
    while study is None or not [t for t in study.get_trials() if "config" in t.user_attrs]:
        assert victim.poll() is None, victim.communicate()[0]
        time.sleep(0.05)
        study = open_study(here, how)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    report = None
    while report is None:
        while run_trial(here, how) is not None:
            pass
        report = finish(here, how)
    trials = trials_of(here)
    assert (
        len(trials) == 8
        and trials["config"].nunique() == 8
        and (trials["state"] == "COMPLETE").all()
    )
    open_study.cache_clear()
    study._storage._backend.engine.dispose()


def test_identity_of_a_study_is_in_its_name(tmp_path):
    one, other = (
        tune.study_name(experiment(tmp_path, source=Source(name)), Search(1))
        for name in ("smoke_housing", "smoke_adult")
    )
    assert one.split()[:2] == other.split()[:2] and one.split()[4:] != other.split()[4:]
    again = tune.study_name(experiment(tmp_path), Search(1, seed=1))
    assert again not in (one, other) and "seed 1" in again
