"""Four competitions made from tables, and what the competition tool makes of them.

``python -m benchmarks.competitions FOLDER --out runs/competitions`` hides 30 % of each table,
trains for ``--time-limit`` minutes on the rest, and scores the blend and each of its models on what
is hidden. Beside the blend stand the model with the best out-of-fold score, which one would submit
alone, and the one that is best on what is hidden. ``--opponent autogluon`` gives AutoGluon's
``best_quality`` the same rows and minutes. Where it fails, the reason is printed. ``--refit``
trains models on all rows, too, and says what that changes. What has a result is not trained again.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks.errors import HarnessError
from benchmarks.files import read_json, write_json, write_text
from benchmarks.models import automl
from benchmarks.report.table import markdown
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


def split(path: Path, task: Task, most_rows: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to train on, and the hidden ones."""
    table = pd.read_parquet(path).drop(columns="split", errors="ignore")
    table = table.sample(min(most_rows, len(table)), random_state=seed)
    if task.metric == "qwk":
        table["target"] = table["target"].astype(int)
    if task.time is not None:
        moments = [name for name in (task.time, "mnth") if name in table]
        table = table.sort_values(moments, kind="stable")
        table["moment"] = table[moments] @ [100, 1][: len(moments)]
        n_train = round((1 - HIDDEN) * len(table))
        return table[:n_train], table[n_train:]
    return tuple(train_test_split(table, test_size=HIDDEN, random_state=seed))


@dataclass(frozen=True)
class Rows:
    """A competition, and the answers that it hides.

    Attributes
    ----------
    competition : Competition
    train, hidden : DataFrame
        With the target.
    """

    competition: Competition
    train: pd.DataFrame
    hidden: pd.DataFrame

    @classmethod
    def of(cls, folder: Path, task: Task, options: argparse.Namespace) -> "Rows":
        """Return a competition with nothing trained, or with what an earlier run has trained."""
        train, hidden = split(folder / f"{task.table}.parquet", task, options.rows, options.seed)
        if task.metric in ("auc", "logloss"):
            hidden = hidden[hidden["target"].isin(train["target"])]
        train, hidden = train.reset_index(drop=True), hidden.reset_index(drop=True)
        competition = Competition.read(
            train,
            hidden.drop(columns="target"),
            target="target",
            metric=task.metric,
            folder=options.out / task.table,
            time=None if task.time is None else "moment",
            folds=options.folds,
        )
        return cls(competition, train, hidden)

    def score(self, prediction: np.ndarray, class_weights: np.ndarray | None = None) -> float:
        """Return the score of predictions of the hidden rows; higher is better."""
        y, classes = self.hidden["target"].to_numpy(), self.competition.tables.classes
        y = y.astype(float) if classes is None else np.searchsorted(classes, y)
        return self.competition.metric.score(y, prediction, class_weights)


def measure(rows: Rows, options: argparse.Namespace) -> dict:
    """Return the scores of the hidden rows, of the blend and of each model."""
    competition = rows.competition
    how = {"time_limit": options.time_limit, "n_jobs": options.n_jobs}
    board = competition.train(options.models, refit=False if options.refit else None, **how)
    of_folds = {model.name: rows.score(model.test) for model in competition.usable()}
    if options.refit:
        board = competition.train(options.models, refit=True, **how)
    blend = competition.blend()
    competition.report()
    models = {model.name: rows.score(model.test) for model in competition.usable()}
    return {
        "seed": options.seed,
        "rows": [len(rows.train), len(rows.hidden)],
        "metric": competition.metric.name,
        "blend": rows.score(blend.test, blend.class_weights),
        "kind": blend.used,
        "models": models,
        "chosen": next(name for name in board["model"] if name in models),
        "seconds": float(board["seconds"].sum()),
        "cut": {row.model: int(row.cut) for row in board.itertuples()},
    } | ({"folds": of_folds} if options.refit else {})


def measure_autogluon(rows: Rows, options: argparse.Namespace) -> dict:
    """Return AutoGluon's score of the hidden rows, and facts of its training."""
    fit = {
        "presets": "best_quality",
        "time_limit": 60 * options.time_limit,
        "num_cpus": options.n_jobs or "auto",
    }
    folder = rows.competition.folder / "autogluon"
    hidden = rows.hidden.drop(columns="target")
    prediction, facts = automl.train(rows.competition, rows.train, hidden, folder, fit)
    return {"score": rows.score(prediction), **facts}


def report(results: dict, command: str) -> str:
    """Return the results as Markdown."""
    has_opponent = any("autogluon" in result for result in results.values())
    lines = [_line_of(name, result, has_opponent) for name, result in results.items()]
    head = f"# Four competitions\n\nScore of the hidden rows, higher is better. `{command}`"
    parts = [head, markdown(pd.DataFrame(lines))]
    if refits := [line for found in results.items() for line in _refits_of(*found)]:
        parts.append(markdown(pd.DataFrame(refits)))
    return "\n\n".join(parts) + "\n"


def _refits_of(name: str, result: dict) -> list[dict]:
    return [
        {
            "table": name,
            "model": model,
            "folds": f"{of_folds:.5f}",
            "with a training on all rows": f"{result['models'][model]:.5f}",
        }
        for model, of_folds in result.get("folds", {}).items()
    ]


def _line_of(name: str, result: dict, has_opponent: bool) -> dict:
    models, opponent = result["models"], result.get("autogluon")
    best = max(models, key=lambda model: models[model])
    chosen = result["chosen"]
    line = {"table": name, "rows (train, hidden)": ", ".join(map(str, result["rows"]))}
    line |= {"metric": result["metric"], "blend": f"{result['blend']:.5f} ({result['kind']})"}
    line["best model out of fold"] = f"{models[chosen]:.5f} ({chosen})"
    line["best model in hindsight"] = f"{models[best]:.5f} ({best})"
    line["CatBoost"] = f"{models['catboost']:.5f}" if "catboost" in models else "–"
    if has_opponent:
        found = f"{opponent['score']:.5f} ({opponent['seconds']:.0f})" if opponent else "–"
        line["AutoGluon (its seconds)"] = found
    return line | {"folds cut": str(sum(result["cut"].values()))}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("folder", type=Path, help="with a Parquet file a table")
    made.add_argument("--out", type=Path, default=Path("runs/competitions"))
    made.add_argument("--tables", nargs="+", default=[task.table for task in TASKS])
    made.add_argument("--models", nargs="+")
    made.add_argument("--folds", type=int, default=8)
    made.add_argument("--time-limit", type=float, default=10, help="minutes (default 10)")
    made.add_argument("--n-jobs", type=int)
    made.add_argument("--rows", type=int, default=MOST_ROWS, help="of a table, at most")
    made.add_argument("--seed", type=int, default=0, help="draws the rows that are hidden")
    made.add_argument("--opponent", choices=["autogluon"])
    made.add_argument("--refit", action="store_true", help="train on all rows, too, after that")
    return made


def main(argv: list[str] | None = None) -> None:
    """Measure the competitions that have no result, and write the report after each."""
    line = parser()
    options = line.parse_args(argv)
    if options.opponent and (lacking := automl.missing()):
        line.error(f"--opponent {options.opponent}: {lacking}")
    path = options.out / "competitions.json"
    results = read_json(path, dict) or {}
    if any(result.get("seed", 0) != options.seed for result in results.values()):
        line.error(f"{path} has results of another --seed: name another folder as --out")
    command = f"python -m benchmarks.competitions FOLDER --time-limit {options.time_limit:g}"
    others = {"rows": MOST_ROWS, "seed": 0, "opponent": None}
    for name, default in others.items():
        if getattr(options, name) != default:
            command += f" --{name} {getattr(options, name)}"
    command += " --refit" if options.refit else ""
    for task in [task for task in TASKS if task.table in options.tables]:
        rows = Rows.of(options.folder, task, options)
        if task.table not in results:
            results[task.table] = measure(rows, options)
            write_json(path, results)
        if options.opponent and options.opponent not in results[task.table]:
            try:
                results[task.table][options.opponent] = measure_autogluon(rows, options)
            except HarnessError as error:
                print(f"{task.table}: {error}", flush=True)
            write_json(path, results)
        write_text(options.out / "competitions.md", report(results, command))


if __name__ == "__main__":
    main()
