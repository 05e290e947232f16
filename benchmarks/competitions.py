"""Four competitions made from tables, and what the competition tool makes of them.

``python -m benchmarks.competitions FOLDER --out runs/competitions`` hides 30 % of each table,
trains for ``--time-limit`` minutes on the rest, and scores the blend and each of its models on what
is hidden. A competition whose result is there is not trained again.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks.files import read_json, write_json, write_text
from tabdl.kaggle import Competition

MOST_ROWS = 20_000
HIDDEN = 0.3


@dataclass(frozen=True)
class Task:
    """A competition.

    Attributes
    ----------
    table : str
        Name of a Parquet file with a column "target".
    metric : str
    time : str or None
        The column that folds follow; the hidden rows are then the last ones.
    """

    table: str
    metric: str
    time: str | None = None


TASKS = [
    Task("bank_marketing", "auc"),
    Task("fars", "logloss"),
    Task("bike_sharing", "rmsle", time="yr"),
    Task("wine_quality", "qwk"),
]


def split(path: Path, task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to train on, and the hidden ones."""
    table = pd.read_parquet(path).drop(columns="split", errors="ignore")
    table = table.sample(min(MOST_ROWS, len(table)), random_state=0)
    if task.metric == "qwk":
        table["target"] = table["target"].astype(int)
    if task.time is not None:
        moments = [name for name in (task.time, "mnth") if name in table]
        table = table.sort_values(moments, kind="stable")
        table["moment"] = table[moments] @ [100, 1][: len(moments)]
        n_train = round((1 - HIDDEN) * len(table))
        return table[:n_train], table[n_train:]
    return tuple(train_test_split(table, test_size=HIDDEN, random_state=0))


def measure(folder: Path, task: Task, options: argparse.Namespace) -> dict:
    """Return the scores of the hidden rows, of the blend and of each model."""
    train, hidden = split(folder / f"{task.table}.parquet", task)
    if task.metric in ("auc", "logloss"):
        hidden = hidden[hidden["target"].isin(train["target"])]
    competition = Competition.read(
        train.reset_index(drop=True),
        hidden.drop(columns="target").reset_index(drop=True),
        target="target",
        metric=task.metric,
        folder=options.out / task.table,
        time=None if task.time is None else "moment",
        folds=options.folds,
    )
    board = competition.train(options.models, time_limit=options.time_limit, n_jobs=options.n_jobs)
    blend = competition.blend()
    competition.report()
    y, classes = hidden["target"].to_numpy(), competition.tables.classes
    y = y.astype(float) if classes is None else np.searchsorted(classes, y)
    score = competition.metric.score
    return {
        "rows": [len(train), len(hidden)],
        "metric": task.metric,
        "blend": score(y, blend.test, blend.class_weights),
        "kind": blend.used,
        "models": {model.name: score(y, model.test) for model in competition.usable()},
        "seconds": float(board["seconds"].sum()),
        "cut": {row.model: int(row.cut) for row in board.itertuples()},
    }


def report(results: dict, command: str) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Four competitions",
        "",
        f"Score of the hidden rows, higher is better. `{command}`",
        "",
        "| table | rows (train, hidden) | metric | blend | best model | CatBoost | folds cut |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in results.items():
        models = result["models"]
        best = max(models, key=lambda model: models[model])
        catboost = f"{models['catboost']:.5f}" if "catboost" in models else "–"
        lines.append(
            f"| {name} | {', '.join(map(str, result['rows']))} | {result['metric']} | "
            f"{result['blend']:.5f} ({result['kind']}) | {models[best]:.5f} ({best}) | "
            f"{catboost} | {sum(result['cut'].values())} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    """Measure the competitions that have no result, and write the report after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="with a Parquet file a table")
    parser.add_argument("--out", type=Path, default=Path("runs/competitions"))
    parser.add_argument("--tables", nargs="+", default=[task.table for task in TASKS])
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--folds", type=int, default=8)
    parser.add_argument("--time-limit", type=float, default=10, help="minutes (default 10)")
    parser.add_argument("--n-jobs", type=int)
    options = parser.parse_args(argv)
    path = options.out / "competitions.json"
    results = read_json(path, dict) or {}
    command = f"python -m benchmarks.competitions FOLDER --time-limit {options.time_limit:g}"
    for task in TASKS:
        if task.table in options.tables and task.table not in results:
            results[task.table] = measure(options.folder, task, options)
            write_json(path, results)
        write_text(options.out / "competitions.md", report(results, command))


if __name__ == "__main__":
    main()
