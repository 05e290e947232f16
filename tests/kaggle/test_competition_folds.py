"""The folds of a competition."""

import numpy as np
import pandas as pd
import pytest
from competition_files import TABLE, A, N, Y, tables, write_models

from tabdl.kaggle import Competition
from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.folds import make_folds, write_folds

IDS = TABLE.assign(id=np.arange(N))


def check_partition(folds, n_rows=N):
    for train, test in folds:
        assert not set(train) & set(test)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(n_rows))


def test_classes_keep_their_shares_and_repeats_differ():
    found = tables(IDS.assign(y=Y), IDS)
    folds = make_folds(found, 4, 2, seed=0)
    assert len(folds) == 8
    check_partition(folds[:4])
    check_partition(folds[4:])
    assert folds[0][1].tolist() != folds[4][1].tolist()
    assert np.ptp([found.y[test].sum() for _, test in folds[:4]]) <= 1


@pytest.mark.parametrize("metric", ["auc", "rmse"])
def test_groups_stay_whole(metric):
    groups = np.arange(N) % 7
    found = tables(IDS.assign(y=Y, shop=groups), IDS, metric=metric, groups="shop")
    assert "shop" not in found.X
    folds = make_folds(found, 3, 1, seed=0)
    check_partition(folds)
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
    with pytest.raises(CompetitionError, match="there are only 7 groups"):
        make_folds(found, 8, 1, seed=0)


def test_time_goes_forward_and_ties_stay_together():
    day = np.random.default_rng(0).integers(0, 12, N)
    dates = (pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D")).strftime("%Y-%m-%d")
    found = tables(IDS.assign(y=A, day=dates), IDS.assign(day=dates), metric="rmse", time="day")
    folds = make_folds(found, 3, 1, seed=0)
    assert len(folds) == 3
    for train, test in folds:
        assert day[train].max() < day[test].min()
    assert len(folds[0][0]) >= N / 2
    with pytest.raises(CompetitionError, match="12 different moments only"):
        make_folds(found, 12, 1, seed=0)
    with pytest.raises(CompetitionError, match="must hold a number or a date"):
        tables(IDS.assign(y=A, day="x"), IDS.assign(day="x"), metric="rmse", time="day")


@pytest.mark.parametrize(
    ("rows_of_moments", "n_folds", "expected"),
    [
        ([1] * 100, 5, [(50, 10), (60, 10), (70, 10), (80, 10), (90, 10)]),
        # More than half of the rows have the first moment.
        ([70, 6, 6, 6, 6, 6], 3, [(70, 12), (82, 12), (94, 6)]),
        # Too few moments in the later half.
        ([10] * 8, 5, [(20, 20), (40, 10), (50, 10), (60, 10), (70, 10)]),
        ([10] * 6, 5, [(20, 10), (30, 10), (40, 10), (50, 10)]),
        ([1, 1, 98], 2, [(1, 99)]),
    ],
)
def test_folds_of_a_time_lie_in_the_later_half(rows_of_moments, n_folds, expected):
    day = np.repeat(np.arange(len(rows_of_moments)), rows_of_moments)
    own = pd.DataFrame({"day": day, "a": 1.0, "y": np.arange(len(day)) * 1.0})
    found = tables(own, own.drop(columns="y"), metric="rmse", time="day")
    folds = make_folds(found, n_folds, 1, seed=0)
    assert [(len(train), len(test)) for train, test in folds] == expected


def test_with_a_time_the_latest_folds_predict(tmp_path):
    """Later rows follow another rule than earlier ones."""
    day = np.arange(N)
    train = IDS.assign(day=day, y=np.where(day < N / 2, 0.0, 5.0) + 0.1 * A)
    competition = Competition.read(
        train,
        IDS.assign(day=day + N),
        target="y",
        metric="rmse",
        folder=tmp_path,
        time="day",
        folds=8,
    )
    models = write_models(tmp_path, "Regressor")
    competition.train(["neighbors"], model_file=models, time_limit=None, refit=False)
    [model] = competition.trained()
    assert len(model.folds) == 8
    latest = [fold.test for fold in model.folds[-2:]]
    np.testing.assert_array_equal(model.test, np.mean(latest, axis=0))
    assert competition.follows_time
    blend = competition.blend()
    assert len(blend.part_scores["greedy"]) == 8, "no folds of a time are joined"
    assert np.isnan(blend.oof[: N // 2]).all() and np.isfinite(blend.oof[N // 2 :]).all()
    assert abs(model.test - model.folds[0].test).min() > 1
    competition.train(["neighbors"], model_file=models, time_limit=None)
    [model] = competition.trained()
    assert model.is_refitted, "only a training on all rows has seen the latest ones"
    assert not np.array_equal(model.test, np.mean(latest, axis=0))


@pytest.mark.parametrize("is_ordered", [True, False])
def test_folds_of_a_file_train_on_later_rows_too(tmp_path, is_ordered):
    day = np.arange(N)
    fold = day * 4 // N - 1 if is_ordered else day % 4
    path = tmp_path / "folds.csv"
    IDS.assign(fold=fold).to_csv(path, index=False)
    table = IDS.assign(day=day, y=A)
    read = {"target": "y", "metric": "rmse", "time": "day", "folds_file": path}
    competition = Competition.read(table, IDS.assign(day=day), folder=tmp_path / "out", **read)
    assert not competition.follows_time
    competition.train(
        ["neighbors"], model_file=write_models(tmp_path, "Regressor"), time_limit=None
    )
    [model] = competition.trained()
    assert not model.is_refitted
    np.testing.assert_array_equal(model.test, np.mean([f.test for f in model.folds], axis=0))


def test_training_rows_of_one_moment_have_rows_to_stop_by(tmp_path):
    day = np.repeat([0, 1, 2], [N - 10, 5, 5])
    competition = Competition.read(
        IDS.assign(day=day, y=A),
        IDS.assign(day=3),
        target="y",
        metric="rmse",
        folder=tmp_path,
        time="day",
        folds=2,
    )
    assert len(competition.folds[0][0]) == N - 10
    competition.train(["mlp"], time_limit=0.2, n_jobs=1, device="cpu")
    assert len(competition.trained()[0].folds) == 2


def test_a_file_of_folds(tmp_path):
    train = IDS.assign(y=np.where(np.arange(N) == 5, np.nan, A))
    found = tables(train, IDS, metric="rmse")
    path = tmp_path / "folds.csv"
    table = pd.DataFrame({"id": np.arange(N), "fold": np.arange(N) % 4 - 1})
    for written in (table, table.sample(frac=1, random_state=0), table[["fold"]]):
        written.to_csv(path, index=False)
        folds = make_folds(found, 8, 1, seed=0, folds_file=path)
        assert len(folds) == 3
        rows = [found.file_rows[test].tolist() for _, test in folds]
        assert rows == [[i for i in range(N) if i % 4 == k and i != 5] for k in (1, 2, 3)]
    for broken, message in [
        (table[["id"]], "no column 'fold'"),
        (table[10:], "lacks 9 of the training ids"),
        (table[["fold"]][10:], "has 50 rows"),
        (table.assign(fold=1), "two folds or more"),
        (table.assign(fold=table["fold"] / 2), "must hold whole numbers"),
        (table.assign(fold=np.inf), "must hold whole numbers"),
        (table.assign(fold="first"), "two folds or more"),
    ]:
        broken.to_csv(path, index=False)
        with pytest.raises(CompetitionError, match=message):
            make_folds(found, 8, 1, seed=0, folds_file=path)


def test_written_folds_are_read_again(tmp_path):
    found = tables(IDS.assign(y=Y), IDS)
    folds = make_folds(found, 4, 1, seed=3)
    write_folds(tmp_path / "folds.csv", found, folds)
    again = make_folds(found, 9, 1, seed=0, folds_file=tmp_path / "folds.csv")
    assert [test.tolist() for _, test in again] == [test.tolist() for _, test in folds]


def test_extra_rows_train_in_every_fold():
    extra = TABLE.assign(y=Y)[:3]
    folds = make_folds(tables(IDS.assign(y=Y), IDS, extra=extra), 4, 1, seed=0)
    check_partition(folds)
    assert all(train[-3:].tolist() == [N, N + 1, N + 2] for train, _ in folds)


def test_options_that_folds_would_not_heed(tmp_path):
    path = tmp_path / "folds.csv"
    IDS[["id"]].assign(fold=np.arange(N) % 2).to_csv(path, index=False)
    day = IDS.assign(y=A, day=np.arange(N), shop=np.arange(N) % 9)
    test = IDS.assign(day=0)
    timed = tables(day, test, metric="rmse", time="day")
    both = tables(day, test, metric="rmse", time="day", groups="shop")
    for found, n_folds, n_repeats, file, message in [
        (timed, 3, 2, None, "--repeats: the folds of --time"),
        (timed, 3, 2, path, "--repeats: the folds of --folds-file"),
        (both, 3, 1, None, "--groups and --time: give one"),
        (timed, 1, 1, None, "--folds must be 2 or more"),
        (timed, 3, 0, None, "--repeats must be 1 or more"),
    ]:
        with pytest.raises(CompetitionError, match=message):
            make_folds(found, n_folds, n_repeats, 0, file)
