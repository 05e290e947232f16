"""The time of a training, by a clock that the test turns."""

import math

import numpy as np
import pytest
from competition_files import TABLE, Y, tables

from tabdl.kaggle.folds import make_folds
from tabdl.kaggle.metrics import find_metric
from tabdl.kaggle.models import find_models
from tabdl.kaggle.plan import Plan, level
from tabdl.kaggle.schedule import Schedule
from tabdl.kaggle.store import TrainedFold, path_of_fold, write_fold
from tabdl.kaggle.training import Setting


class Watch:
    """A clock that stands still until it is told."""

    def __init__(self):
        self.time = 100.0

    def __call__(self):
        return self.time


@pytest.mark.parametrize(
    "needs, total, share",
    [
        ([math.inf, math.inf], 10, 5),
        ([1, math.inf, math.inf], 10, 4.5),
        ([1, 2, 3], 10, math.inf),
        ([4, 4, 4], 9, 3),
        ([math.inf], -1, 0),
    ],
)
def test_level(needs, total, share):
    assert level(needs, total) == share


def test_what_a_quick_model_leaves_goes_to_the_others():
    watch = Watch()
    plan = Plan(100, watch)
    todo = ["quick", "slow"] * 4
    assert plan.share("quick", todo) == 100 / 8
    watch.time += 2
    plan.record("quick", 2, was_cut=False)
    todo.remove("quick")
    assert plan.expected("quick") == pytest.approx(2.2)
    assert plan.share("slow", todo) == pytest.approx((98 - 3 * 2.2) / 4)


def test_a_model_that_was_cut_needs_all_it_can_get():
    plan = Plan(60, Watch())
    plan.record("slow", 10, was_cut=True, limit=8)
    assert plan.expected("slow") == math.inf
    assert plan.limit("slow", 20) == 18  # what is not training takes two seconds
    assert plan.limit("other", 20) == 18
    assert plan.limit("slow", 2) == pytest.approx(0.6)


@pytest.mark.parametrize("overhead", [0.0, 1.5])
def test_a_plan_is_kept(overhead):
    """Three models, one that no time is enough for, and a loss of time that nobody measured."""
    watch = Watch()
    plan = Plan(300, watch)
    cost = {"tree": 3.0, "network": 20.0, "greedy": math.inf}
    todo = [name for name in cost for _ in range(8)]
    while todo:
        name = todo[0]
        limit = plan.limit(name, plan.share(name, todo))
        seconds = min(cost[name], limit) + overhead
        watch.time += seconds
        plan.record(name, seconds, cost[name] > limit, limit)
        todo.pop(0)
    assert -0.01 * 300 <= plan.left() <= 0.05 * 300


def test_no_limit():
    plan = Plan(math.inf, Watch())
    assert plan.share("a", ["a", "b"]) == math.inf
    plan.record("a", 1, was_cut=False)
    assert plan.share("a", ["a", "b"]) == math.inf


@pytest.mark.parametrize("seconds, is_left_out", [(4.0, True), (40.0, False)])
def test_a_network_that_adds_nothing_leaves_its_time_to_others(
    tmp_path, capsys, seconds, is_left_out
):
    """Both networks were cut in their first folds, and one of them guesses."""
    short = {"model": "mlp", "max_epochs": 1, "d_block": 4}
    specs = find_models(["guesses", "learns"], None, {"guesses": short, "learns": short}, 1)
    read = tables(TABLE.assign(y=Y), TABLE)
    metric = find_metric("auc")
    setting = Setting(read, metric, make_folds(read, 2, 1, 0, None), 0, "cpu", 1)
    rows = setting.folds[0][1]
    for spec in specs:
        truth = read.y[rows] if spec.name == "learns" else np.zeros(len(rows))
        oof = np.stack([0.6 - 0.2 * truth, 0.4 + 0.2 * truth], axis=1)
        test = np.full((len(TABLE), 2), 0.5)
        score = metric.score(read.y[rows], oof)
        fold = TrainedFold(oof, test, score, 2.0, was_cut=True, curve=[], importances=None)
        write_fold(path_of_fold(tmp_path, spec.name, 0), fold, setting.identity(spec))
    Schedule(specs, setting, tmp_path, Plan(seconds, Watch())).run()
    said = capsys.readouterr().out
    assert ("guesses is left out (1 of 2 folds done): cut short in its" in said) == is_left_out
    assert "learns, fold 2 of 2" in said
    assert path_of_fold(tmp_path, "guesses", 1).exists() != is_left_out
