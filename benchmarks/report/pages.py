"""The stage report: Markdown and one HTML page, from one table that is saved beside them."""

import base64
import json
from pathlib import Path

import numpy as np
import pandas as pd
from markdown_it import MarkdownIt

from benchmarks.errors import told
from benchmarks.files import locked, write_text
from benchmarks.models.registry import MODELS
from benchmarks.report import figures, ranking
from benchmarks.report.figures import WORDS
from benchmarks.report.table import label, later, listed, markdown, published, read_sound, summary
from tabdl.kaggle.files import new_file

HEAD = (Path(__file__).parent / "head.html").read_text(encoding="utf-8")


def lines_of(table, experiments):
    """Return a DataFrame with a line for each experiment, as the command prints it."""
    found = summary(table[table["stage"] == "evaluation"]).set_index(["dataset", "name"])
    return pd.DataFrame([_line(found, experiment) for experiment in experiments])


def _line(found, e):
    dataset, name = e.source.name, label(e.model, e.config, e.variant_name)
    line = {"dataset": dataset, "model": e.model}
    line["config"] = ", ".join(filter(None, (e.config, e.variant_name)))
    paper = {
        f"paper: {kind}": _paper(published(dataset, e.model, kind, "evaluation"))
        for kind in ("default", "tuned")
    }
    costs = ("fit s", "predict s", "parameters", "epochs")
    if (dataset, name) not in found.index:
        return line | {"seeds": "0", "score": "missing"} | paper | dict.fromkeys(costs, "–")
    run = found.loc[(dataset, name)]
    size, length = MODELS[e.model].units
    n_parameters = f"{int(run['n_parameters']):,} {size}".removesuffix(" parameters")
    cells = (f"{run['fit_s']:.1f}", f"{run['predict_s']:.2f}", n_parameters)
    cells += (f"{int(run['n_iter'])} {length}",)
    line |= {"seeds": str(run["n"]), "score": _score(run)}
    return line | paper | dict(zip(costs, cells, strict=True))


def _score(run):
    return _spread(run["mean"], run["std"]) + (" cut" if run["hit_time_limit"] else "")


def _spread(mean, std):
    return f"{mean:.4f}" + (f" ± {std:.4f}" if std == std else "")


def _paper(figure):
    return "–" if figure is None else _spread(figure["mean"], figure["std"])


def footnote(table, experiments):
    """Return what a reader of the printed table has to know, and what it means."""
    asked = {(e.source.name, label(e.model, e.config, e.variant_name)) for e in experiments}
    single = table[table["stage"] == "evaluation"]
    keys = zip(single["dataset"], single["name"], strict=True)
    single = single[np.array([key in asked for key in keys], dtype=bool)]
    cut = single[single["hit_time_limit"].fillna(False).to_numpy(bool)]
    limits = dict.fromkeys(f"{limit:.3g}" for limit in cut["time_limit"].agg(["min", "max"]))
    was_cut = [WORDS["cut"].format(" to ".join(limits))] if len(cut) else []
    return "\n".join([WORDS["footnote"], *was_cut, *_meaning(single)])


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
    with told(f"{folder} could not be written", OSError), locked(folder):
        with new_file(folder / "table.parquet") as new:
            table.to_parquet(new)
        captions = figures.draw(table, folder)
        text = "\n\n".join([*_parts(table, captions), *_searches(out)]) + "\n"
        write_text(folder / "report.md", text)
        write_text(folder / "report.html", as_html(text, folder))
    return folder


def as_html(text, folder):
    """Return Markdown as one HTML page, with its figures, which stand in ``folder``, inside."""
    page = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for path in folder.glob("*.png"):
        content = base64.b64encode(path.read_bytes()).decode()
        page = page.replace(f'src="{path.name}"', f'src="data:image/png;base64,{content}"')
    return f"{HEAD}<body>\n{page}</body></html>\n"


def _parts(table, captions):
    """Yield the report, paragraph by paragraph."""
    yield "## Deep tabular models and boosted trees"
    if table.empty:
        yield "Nothing has been run in this folder yet."
        return
    named = (listed(table[name]) or "unknown" for name in ("tabdl", "commit", "processor"))
    yield "tabdl {}, commit {}. Processor: {}. ".format(*named) + WORDS["scores"]
    if (table["protocol"] == "paper").any():
        yield WORDS["protocol"]
    yield from _scores(table)
    yield from _figures(captions, "scores.png", "time.png")
    yield from _ranking(table, captions)
    yield from _anchors(table)
    if "tuning.png" in captions:
        yield "## Searches"
        yield from _figures(captions, "tuning.png")


def _figures(captions, *names):
    for name in names:
        if name in captions:
            yield f"![{captions[name]}]({name})"
            yield captions[name]


def _scores(table):
    found, trials = summary(table), table[table["stage"] == "trial"]
    names = dict.fromkeys([*found["name"], *trials["name"]])
    indexed = found.set_index(["dataset", "name", "stage"])
    for dataset in table["dataset"].unique():
        yield f"## {dataset}"
        top = ranking.not_worse_than_the_best(table, dataset)
        lines = [
            {"model": f"{name} *" if name in top else name}
            | _cells(indexed, (dataset, name, "evaluation"))
            | _cells(indexed, (dataset, name, "ensemble"), "ensembles: ")
            for name in names
        ]
        yield markdown(pd.DataFrame(lines))


def _cells(found, key, prefix=""):
    """Return the cells of one kind of run."""
    names = ("n", "score", "paper", "difference in its deviations", "device", "fit s")
    cells = ("0", "missing", "–", "–", "–", "–")
    if key in found.index:
        row = found.loc[key]
        is_known, is_compared = (row[name] == row[name] for name in ("paper_mean", "difference"))
        paper = _spread(row["paper_mean"], row["paper_std"]) if is_known else "–"
        difference = f"{row['difference']:+.1f}" if is_compared else "–"
        cells = str(row["n"]), _score(row), paper, difference, row["device"], f"{row['fit_s']:.1f}"
    shown = dict(zip(names, cells, strict=True))
    return {f"{prefix}{name}": shown[name] for name in (names[:4] if prefix else names)}


def _ranking(table, captions):
    yield "## Ranks and wins"
    yield from _figures(captions, "ranks.png")
    if "ranks.png" not in captions:
        n_datasets, n_models = ranking.complete_scores(table).shape
        yield (
            f"No critical-difference figure: it needs {figures.MIN_DATASETS} datasets and 3 models "
            f"that were run on all of them; here are {n_datasets} and {n_models}."
        )
    found = ranking.leaderboard(table)
    if len(found):
        yield WORDS["leaderboard"]
        yield markdown(pd.DataFrame([_standing(row) for row in found.to_dict("records")]))
    wins = ranking.win_rates(table)
    if len(wins):
        yield WORDS["wins"]
        yield markdown(wins.assign(rate=wins["rate"].map("{:.0%}".format)))


def _standing(row):
    def interval(name, form):
        low, high = row[name] - row[f"{name}-"], row[name] + row[f"{name}+"]
        return f"{row[name]:{form}} ({low:{form}} to {high:{form}})"

    return {
        "model": row["name"],
        "mean rank": f"{row['rank']:.2f} ± {row['rank_std']:.2f}",
        "Elo": interval("elo", ".0f"),
        "win rate": f"{row['winrate']:.0%}",
        "improvability": interval("improvability", ".1%"),
    }


def _anchors(table):
    """Yield our single fits beside later papers' figures: of the same model, and the best of each
    study."""
    ours = summary(table[table["stage"] == "evaluation"])
    for dataset in table["dataset"].unique():
        anchors = later(dataset).sort_values("single", ascending=False)
        if anchors.empty:
            continue
        best = anchors.groupby("study").head(3)
        is_shown = anchors["model"].isin(ours["model"]) | anchors.index.isin(best.index)
        shown = anchors[is_shown].dropna(subset=["single"])
        mine = ours[(ours["dataset"] == dataset) & (ours["std"] > 0)]
        differences = [_differences(mine, anchor) for anchor in shown.itertuples()]
        yield f"## {dataset}: later papers"
        yield markdown(shown.assign(**{"ours minus it, in our standard deviations": differences}))


def _differences(mine, anchor):
    same = mine[mine["model"] == anchor.model]
    figures = zip(same["name"], same["mean"], same["std"], strict=True)
    texts = [f"{name} {(mean - anchor.single) / std:+.1f}" for name, mean, std in figures]
    return ", ".join(texts) or "–"


def _searches(out):
    """Yield the best configuration of each search."""
    for path in sorted(Path(out).glob("*/*/tuning/report.json")):
        report = read_sound(path.parent)
        if report is None:
            continue
        best, trials = report["best"], report["trials"].items()
        states = ", ".join(f"{number} {state.lower()}" for state, number in trials if number)
        yield (
            f"{report['identity']['dataset']}, {path.parent.parent.name}: {states}; best "
            f"validation score {best['val_score']:.4f} in trial {best['number']}; "
            f"{report['seconds']['fit'] / 60:.1f} minutes of fitting."
        )
        yield f"`{json.dumps(report['parameters'])}`"
