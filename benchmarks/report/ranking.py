"""Which model is best over several datasets, and which differences the seeds support."""

import numpy as np
import pandas as pd

from benchmarks.report.table import label

BOOTSTRAP = 200
SIGNIFICANCE = 0.01
"""The level of the paper's Table 2."""


def complete_scores(table):
    """Return the mean test scores of single fits: a row a dataset, a column a model that was run on
    every dataset."""
    single = table[table["stage"] == "evaluation"]
    return single.pivot_table("test_score", "dataset", "name", "mean").dropna(axis="columns")


def leaderboard(table):
    """Return a line for each model that was run on every dataset, the best first.

    Elo, win rate, rank and improvability (how much of the error a switch to the best model of the
    dataset would remove, mean over datasets) are those of bencheval, the arithmetic of TabArena,
    with 95 % intervals of a bootstrap over datasets.

    Returns
    -------
    DataFrame
        ``name``, ``rank`` and its ``rank_std`` over datasets, ``elo``, ``elo+``, ``elo-``,
        ``winrate``, ``improvability``, ``improvability+``, ``improvability-``; empty for fewer
        than two models or datasets.
    """
    from bencheval.evaluator import BenchmarkEvaluator

    scores = complete_scores(table)
    if min(scores.shape, default=0) < 2:
        return pd.DataFrame()
    errors = scores.rename_axis(columns="method").stack().map(_error).rename("metric_error")
    evaluator = BenchmarkEvaluator("method", "dataset", columns_to_agg_extra=[])
    found = evaluator.leaderboard(
        errors.reset_index(), average_seeds=True, elo_kwargs={"BOOTSTRAP_ROUNDS": BOOTSTRAP}
    )
    spread = scores.rank(axis="columns", ascending=False).std(ddof=1)
    return found.assign(rank_std=spread).rename_axis("name").reset_index()


def _error(score):
    """Return an error, from 0 on, of a score: an RMSE, or what is missing to an accuracy of 1."""
    return -score if score < 0 else 1 - score


def not_worse_than_the_best(table, dataset):
    """Return the names of the best model of a dataset and of those that it does not beat.

    That is a one-sided Wilcoxon test of the scores by seed at 1 %, as in the paper's Table 2. It
    needs seven seeds that both have; with fewer, no difference can be found.
    """
    from scipy.stats import wilcoxon

    single = table[(table["stage"] == "evaluation") & (table["dataset"] == dataset)]
    if single.empty:
        return set()
    scores = single.pivot_table("test_score", "index", "name")
    best = scores.mean().idxmax()
    found = {best}
    for name in scores.columns.drop(best):
        ahead = (scores[best] - scores[name]).dropna()
        if not ahead.any() or wilcoxon(ahead, alternative="greater").pvalue > SIGNIFICANCE:
            found.add(name)
    return found


def win_rates(table, opponent="catboost"):
    """Return how often a fit beats one of the opponent with the same kind of configuration, mean
    over datasets; a tie is half."""
    single = table[table["stage"] == "evaluation"]
    wins = {}
    for (_, config), group in single.groupby(["dataset", "config"]):
        theirs = group.loc[group["name"] == label(opponent, config), "test_score"].to_numpy()
        for name, ours in group.groupby("name")["test_score"]:
            if name != label(opponent, config) and len(theirs):
                ahead = np.sign(ours.to_numpy()[:, None] - theirs) / 2 + 0.5
                wins.setdefault(name, []).append(ahead.mean())
    lines = [(name, len(rates), float(np.mean(rates))) for name, rates in wins.items()]
    return pd.DataFrame(lines, columns=["name", "datasets", "rate"])
