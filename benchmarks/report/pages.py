"""The stage report: Markdown and one HTML page, from one table that is saved beside them."""

import base64
import json
from pathlib import Path

import jinja2
import numpy as np

from benchmarks.errors import HarnessError
from benchmarks.files import locked, new_file, write_text
from benchmarks.models.registry import MODELS
from benchmarks.report import figures
from benchmarks.report.ranking import (
    complete_scores,
    leaderboard,
    not_worse_than_the_best,
    win_rates,
)
from benchmarks.report.table import label, later, listed, published, read_sound, summary

HEADINGS = (
    *("dataset", "model", "config", "seeds", "score", "paper: default", "paper: tuned"),
    *("fit s", "predict s", "parameters", "epochs"),
)
SCORE_HEADINGS = ("score", "paper", "difference in its deviations")
SCORES = (
    "Scores are of the test rows: accuracy, or minus RMSE in the target's units; higher is better; "
    "mean ± standard deviation of n fits with different seeds, or of n ensembles of five. * marks "
    "the best model and those that it does not beat (one-sided Wilcoxon test over the seeds, 1 %; "
    "it needs seven seeds). Paper: Gorishniy et al. 2021, 15 seeds and 3 ensembles. Difference: "
    "ours minus the paper's mean, in the paper's standard deviations."
)
PROTOCOL = (
    "Under the paper's protocol: its splits, transform with noise, patience and score to stop by; "
    "CatBoost evaluated on the CPU; deviations of the population, as in its tables. What differs: "
    "weight decay spares biases, norms and embeddings of MLP and ResNet; newer XGBoost, CatBoost "
    "and Optuna (its univariate TPE, a sampler a trial); LightGBM's space is the paper's, its runs "
    "are ours on all tables; a missing number is the middle of the training values; bfloat16 where "
    "the processor has it."
)
LEADERBOARD = (
    "Over the datasets on which every model was run: mean rank ± its deviation, Elo, the share of "
    "wins against the others, and improvability, the part of the error that the best model of a "
    "dataset would spare; in brackets 95 % intervals of a bootstrap over datasets (bencheval)."
)
WINS = (
    "How often a fit beats one of CatBoost with the same kind of configuration, mean over datasets "
    "(a tie is half)."
)


def lines_of(table, experiments):
    """Return a tuple of strings for each experiment, as under :data:`HEADINGS`."""
    found = summary(table[table["stage"] == "evaluation"]).set_index(["dataset", "name"])
    return [_line(found, experiment) for experiment in experiments]


def _line(found, e):
    dataset, model, name = e.source.name, e.model, label(e.model, e.config, e.variant_name)
    config = ", ".join(filter(None, (e.config, e.variant_name)))
    paper = [_paper(published(dataset, model, kind, "evaluation")) for kind in ("default", "tuned")]
    if (dataset, name) not in found.index:
        return dataset, model, config, "0", "missing", *paper, "–", "–", "–", "–"
    figures = found.loc[(dataset, name)]
    size, length = MODELS[model].units
    return (
        *(dataset, model, config, str(figures["n"])),
        _spread(figures["mean"], figures["std"]) + (" cut" if figures["hit_time_limit"] else ""),
        *paper,
        f"{figures['fit_s']:.1f}",
        f"{figures['predict_s']:.2f}",
        f"{int(figures['n_parameters']):,}" + ("" if size == "parameters" else f" {size}"),
        f"{int(figures['n_iter'])} {length}",
    )


def _spread(mean, std):
    return f"{mean:.4f}" + (f" ± {std:.4f}" if std == std else "")


def _paper(figure):
    return "–" if figure is None else _spread(figure["mean"], figure["std"])


def footnote(table, experiments):
    """Return what a reader of the printed table has to know, and what it means."""
    lines = [
        "score: accuracy (classes) or minus RMSE (numbers) of the test rows; higher is better; "
        "mean ± deviation of the seeds.",
        "paper: Gorishniy et al. 2021, 15 seeds. Medians of seconds, parameters (trees: leaves) "
        "and epochs.",
    ]
    asked = {(e.source.name, label(e.model, e.config, e.variant_name)) for e in experiments}
    single = table[table["stage"] == "evaluation"]
    keys = zip(single["dataset"], single["name"], strict=True)
    single = single[np.array([key in asked for key in keys], dtype=bool)]
    cut = single[single["hit_time_limit"].fillna(False).to_numpy(bool)]
    if len(cut):
        limits = ", ".join(f"{limit:g}" for limit in sorted(cut["time_limit"].unique()))
        lines.append(
            f"cut: training ended with its time limit of {limits} s (--time-limit 0 lifts that). "
            "Networks plan for it; boosted trees are as far as they came."
        )
    return "\n".join([*lines, *_meaning(single)])


def _meaning(single):
    """Yield a sentence a dataset: the best model, the quickest, and what lies between them."""
    for dataset, found in summary(single).groupby("dataset", sort=False):
        best, quick = found.loc[found["mean"].idxmax()], found.loc[found["fit_s"].idxmin()]
        text = f"{dataset}: {best['name']} is best ({best['mean']:.4f}, {best['fit_s']:.0f} s)"
        if quick["name"] != best["name"]:
            times = best["fit_s"] / max(quick["fit_s"], 0.01)
            text += f"; {quick['name']} is {best['mean'] - quick['mean']:.4f} behind in "
            text += f"{quick['fit_s']:.1f} s, {times:.0f} times as fast"
        if len(found) > 1 and found["n"].min() < 3:
            text += ". Other seeds differ by some 0.001 to 0.005: take smaller gaps for none"
        yield f"{text}."


def write(table, out):
    """Write ``report/`` into a results folder: table.parquet, figures, report.md, report.html;
    return the folder."""
    folder = Path(out) / "report"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            with new_file(folder / "table.parquet") as new:
                table.to_parquet(new)
            captions = figures.draw(table, folder)
            blocks = [*_blocks(table, captions), *_searches(out)]
            for name in ("report.md", "report.html"):
                write_text(folder / name, render(name, folder, blocks=blocks))
    except OSError as error:
        raise HarnessError(f"{folder} could not be written ({error})") from error
    return folder


def render(name, folder, **values):
    """Return the text of a template of ``templates/``; figures are read from ``folder``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=name.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )

    def base64_of(figure):
        return base64.b64encode((Path(folder) / figure).read_bytes()).decode()

    template = environment.get_template(f"{name}.jinja")
    return template.render(as_markdown=as_markdown, base64_of=base64_of, **values)


def as_markdown(headings, lines):
    """Return a table in Markdown."""
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in rows)


def _blocks(table, captions):
    """Yield the report as (kind, contents): heading, text, table, figure, code."""
    yield "heading", "Deep tabular models and boosted trees"
    if table.empty:
        yield "text", "Nothing has been run in this folder yet."
        return
    named = (listed(table[name]) or "unknown" for name in ("tabdl", "commit", "processor"))
    yield "text", "tabdl {}, commit {}. Processor: {}. ".format(*named) + SCORES
    if (table["protocol"] == "paper").any():
        yield "text", PROTOCOL
    yield from _scores(table)
    for name in ("scores.png", "time.png"):
        if name in captions:
            yield "figure", (name, captions[name])
    yield from _ranking(table, captions)
    yield from _anchors(table)
    if "tuning.png" in captions:
        yield "heading", "Searches"
        yield "figure", ("tuning.png", captions["tuning.png"])


def _scores(table):
    found, trials = summary(table), table[table["stage"] == "trial"]
    names = dict.fromkeys([*found["name"], *trials["name"]])
    indexed = found.set_index(["dataset", "name", "stage"])
    headings = ("model", "n", *SCORE_HEADINGS, "device", "fit s", "ensembles", *SCORE_HEADINGS)
    for dataset in table["dataset"].unique():
        yield "heading", dataset
        top = not_worse_than_the_best(table, dataset)
        lines = []
        for name in names:
            single = _cells(indexed, (dataset, name, "evaluation"))
            several = _cells(indexed, (dataset, name, "ensemble"))
            lines.append((f"{name} *" if name in top else name, *single, *several[:-2]))
        yield "table", (headings, lines)


def _cells(found, key):
    """Return n, score, paper, difference, device and seconds of one kind of run."""
    if key not in found.index:
        return "0", "missing", "–", "–", "–", "–"
    row = found.loc[key]
    is_known = row["paper_mean"] == row["paper_mean"]
    return (
        str(row["n"]),
        _spread(row["mean"], row["std"]) + (" cut" if row["hit_time_limit"] else ""),
        _spread(row["paper_mean"], row["paper_std"]) if is_known else "–",
        f"{row['difference']:+.1f}" if row["difference"] == row["difference"] else "–",
        row["device"],
        f"{row['fit_s']:.1f}",
    )


def _ranking(table, captions):
    yield "heading", "Ranks and wins"
    if "ranks.png" in captions:
        yield "figure", ("ranks.png", captions["ranks.png"])
    else:
        n_datasets, n_models = complete_scores(table).shape
        yield (
            "text",
            f"No critical-difference figure: it needs {figures.MIN_DATASETS} datasets and 3 models "
            f"that were run on all of them; here are {n_datasets} and {n_models}.",
        )
    found = leaderboard(table)
    if len(found):
        headings = ("model", "mean rank", "Elo", "win rate", "improvability")
        yield "text", LEADERBOARD
        yield "table", (headings, [_standing(row) for row in found.to_dict("records")])
    wins = win_rates(table)
    if len(wins):
        lines = [(row.name, str(row.datasets), f"{row.rate:.0%}") for row in wins.itertuples()]
        yield "text", WINS
        yield "table", (("model", "datasets", "wins"), lines)


def _standing(row):
    def interval(name, form):
        low, high = row[name] - row[f"{name}-"], row[name] + row[f"{name}+"]
        return f"{row[name]:{form}} ({low:{form}} to {high:{form}})"

    rank = f"{row['rank']:.2f} ± {row['rank_std']:.2f}"
    rates = f"{row['winrate']:.0%}", interval("improvability", ".1%")
    return row["name"], rank, interval("elo", ".0f"), *rates


def _anchors(table):
    """Our single fits beside later papers' figures: of the same model, and the best of each
    study."""
    headings = ("study", "model", "single", "ensemble of 5")
    headings += ("ours minus it, in our standard deviations",)
    ours = summary(table[table["stage"] == "evaluation"])
    for dataset in table["dataset"].unique():
        anchors = later(dataset).sort_values("single", ascending=False)
        if anchors.empty:
            continue
        best = anchors.groupby("study").head(3)
        is_shown = anchors["model"].isin(ours["model"]) | anchors.index.isin(best.index)
        mine = ours[ours["dataset"] == dataset]
        lines = [
            (
                *(anchor.study, anchor.model),
                *(_number(anchor.single), _number(anchor.ensemble_of_5)),
                _differences(mine, anchor),
            )
            for anchor in anchors[is_shown].dropna(subset=["single"]).itertuples()
        ]
        yield "heading", f"{dataset}: later papers"
        yield "table", (headings, lines)


def _number(value):
    return "–" if value != value else f"{value:.4f}"


def _differences(mine, anchor):
    same = mine[(mine["model"] == anchor.model) & (mine["std"] > 0)]
    figures = zip(same["name"], same["mean"], same["std"], strict=True)
    texts = [f"{name} {(mean - anchor.single) / std:+.1f}" for name, mean, std in figures]
    return ", ".join(texts) or "–"


def _searches(out):
    """Yield the best configuration of each search."""
    for path in sorted(Path(out).glob("*/*/tuning/report.json")):
        report = read_sound(path.parent)
        if report is None:
            continue
        best, dataset = report["best"], report["identity"]["dataset"]
        states = ", ".join(
            f"{number} {state.lower()}" for state, number in report["trials"].items() if number
        )
        yield (
            "text",
            f"{dataset}, {path.parent.parent.name}: {states}; best validation score "
            f"{best['val_score']:.4f} in trial {best['number']}; "
            f"{report['seconds']['fit'] / 60:.1f} minutes of fitting.",
        )
        yield "code", json.dumps(report["parameters"])
